/* A BERT in plain loops: float32, every sum added up term after term, nothing shared with npbert.

It was written from the format of a pack alone. `run` computes the base model and hands every intermediate value to `keep` under
the pack's name for it. It can make mistakes on purpose: `plant` is the name of one, and `on(name)` asks at each step whether it is
to be made here. plants.py lists them all.

Arrays are row-major. B texts of S tokens, N heads of size H, width D = N * H, R = B * S rows. */

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef const float *(*Weight)(const char *name);
typedef void (*Keep)(const char *name, const float *values, int rank, const int *shape);

typedef struct {
    int layers, width, heads, inner, batch, length; /* L, D, N, F, B, S */
    float eps;
    const char *activation;
    const long long *ids, *types, *positions, *mask; /* [B, S]; positions [S] */
    Weight weight;
    Keep keep;
    const char *plant; /* "" for an honest pass */
    int plant_layer;   /* -1: in every layer */
    const char *plant_block; /* "embeddings", "attention" or "feed-forward"; "": in all of them */
} Pass;

static Pass pass;
static int layer_now;
static const char *block_now;

static int on(const char *plant) {
    return !strcmp(pass.plant, plant) && (pass.plant_layer < 0 || pass.plant_layer == layer_now) &&
           (!*pass.plant_block || !strcmp(pass.plant_block, block_now));
}

/* ------------------------------------------------------------------------------------------------------- memory and names */

static void **held;
static int held_count;

static float *fresh(int size) { /* zeros that live until the pass is over */
    held = realloc(held, (held_count + 1) * sizeof *held);
    held[held_count] = calloc(size ? size : 1, sizeof(float));
    return held[held_count++];
}

static float *copy(const float *x, int size) { return memcpy(fresh(size), x, size * sizeof *x); }

static void release(void) {
    while (held_count) free(held[--held_count]);
    free(held);
    held = NULL;
}

static const char *name(const char *format, ...) { /* a text that lives as long */
    const int size = 200;
    char *text = (char *)fresh(size / sizeof(float));
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, size, format, arguments);
    va_end(arguments);
    return text;
}

static void keep_rows(const char *title, const float *x, int width) {
    int shape[] = {pass.batch, pass.length, width};
    pass.keep(title, x, 3, shape);
}

static void keep_heads(const char *title, const float *x, int width) {
    int shape[] = {pass.batch, pass.heads, pass.length, width};
    pass.keep(title, x, 4, shape);
}

static void keep_vector(const char *title, const float *x) {
    int shape[] = {pass.batch, pass.width};
    pass.keep(title, x, 2, shape);
}

/* ------------------------------------------------------------------------------------------------------ linear and norm */

static float *product(const char *module, const float *x, int rows, int in, int out) { /* x W^T */
    const float *w = pass.weight(name("%s.weight", module));
    float *y = fresh(rows * out);
    for (int r = 0; r < rows; r++)
        for (int o = 0; o < out; o++) {
            float sum = 0;
            for (int i = 0; i < in; i++) sum += x[r * in + i] * w[o * in + i];
            y[r * out + o] = sum;
        }
    return y;
}

static void add_bias(const char *module, float *y, int rows, int out) {
    const float *b = pass.weight(name("%s.bias", module));
    for (int i = 0; i < rows * out; i++) y[i] += b[i % out];
}

static float *linear(const char *module, const float *x, int rows, int in, int out) {
    float *y = product(module, x, rows, in, out);
    add_bias(module, y, rows, out);
    return y;
}

static float *sum_of(const float *x, float factor, const float *y, float other) {
    int size = pass.batch * pass.length * pass.width;
    float *z = fresh(size);
    for (int i = 0; i < size; i++) z[i] = factor * x[i] + other * y[i];
    return z;
}

static float factor_of(const char *addend) {
    if (on(name("%s-left-out", addend))) return 0;
    if (on(name("%s-negated", addend))) return -1;
    if (on(name("%s-halved", addend))) return 0.5f;
    if (on(name("%s-doubled", addend))) return 2;
    return 1;
}

static void standardise(float *x, int count, int stride) { /* (x - mean) / sqrt(variance + eps), in place */
    float mean = 0, variance = 0, spread;
    for (int i = 0; i < count; i++) mean += x[i * stride];
    mean /= count;
    for (int i = 0; i < count; i++) variance += (x[i * stride] - mean) * (x[i * stride] - mean);
    variance /= on("norm-unbiased") ? count - 1 : count;
    if (on("norm-rms")) {
        mean = variance = 0;
        for (int i = 0; i < count; i++) variance += x[i * stride] * x[i * stride];
        variance /= count;
    }
    spread = sqrtf(variance + pass.eps);
    if (on("norm-eps-outside")) spread = sqrtf(variance) + 0.001f;
    if (on("norm-root-missing")) spread = variance + pass.eps;
    if (on("norm-mean-kept")) mean = 0;
    if (on("norm-mean-absolute")) {
        spread = 0;
        for (int i = 0; i < count; i++) spread += fabsf(x[i * stride] - mean);
        spread /= count;
    }
    if (on("norm-only-centred")) spread = 1;
    for (int i = 0; i < count; i++) x[i * stride] = (x[i * stride] - mean) / spread;
}

static float *layer_norm(const char *module, const float *x) {
    int rows = pass.batch * pass.length, width = pass.width;
    const float *gamma = pass.weight(name("%s.weight", module)), *beta = pass.weight(name("%s.bias", module));
    float *y = copy(x, rows * width);
    if (on("norm-missing")) return y;
    if (on("norm-over-positions")) {
        for (int b = 0; b < pass.batch; b++)
            for (int d = 0; d < width; d++) standardise(y + b * pass.length * width + d, pass.length, width);
    } else if (on("norm-over-everything")) {
        for (int b = 0; b < pass.batch; b++) standardise(y + b * pass.length * width, pass.length * width, 1);
    } else if (on("norm-by-head")) {
        for (int i = 0; i < rows * pass.heads; i++) standardise(y + i * (width / pass.heads), width / pass.heads, 1);
    } else {
        for (int r = 0; r < rows; r++) standardise(y + r * width, width, 1);
    }
    for (int i = 0; i < rows * width; i++) {
        float g = gamma[i % width], c = beta[i % width];
        if (on("gamma-plus-one")) g += 1;
        y[i] = on("beta-before-gamma") ? (y[i] + c) * g : y[i] * g + c;
    }
    if (on("norm-twice"))
        for (int r = 0; r < rows; r++) standardise(y + r * width, width, 1);
    return y;
}

static void drop(float *x, int size) { /* dropout of one tenth, always of the same elements */
    unsigned state = 12345;
    for (int i = 0; i < size; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = state >> 16 < 6554 ? 0 : x[i] / 0.9f;
    }
}

static float *in_bfloat16(float *x, int size) { /* cut off, in place */
    for (int i = 0; i < size; i++) {
        unsigned bits;
        memcpy(&bits, &x[i], 4);
        bits &= 0xFFFF0000u;
        memcpy(&x[i], &bits, 4);
    }
    return x;
}

/* ----------------------------------------------------------------------------------------------------------- activations */

static float sigmoid(float x) { return 1 / (1 + expf(-x)); }

static float activate(const char *kind, float x) {
    const float root_of_half = 0.70710678118654752f, root = 0.79788456080286536f; /* sqrt(1/2), sqrt(2/pi) */
    if (!strcmp(kind, "gelu")) return x * 0.5f * (1 + erff(x * root_of_half));
    if (!strcmp(kind, "gelu_new")) return x * 0.5f * (1 + tanhf(root * (x + 0.044715f * x * x * x)));
    if (!strcmp(kind, "quick_gelu")) return x * sigmoid(1.702f * x);
    if (!strcmp(kind, "relu")) return x > 0 ? x : 0;
    if (!strcmp(kind, "relu2")) return x > 0 ? x * x : 0;
    if (!strcmp(kind, "relu6")) return x > 6 ? 6 : x > 0 ? x : 0;
    if (!strcmp(kind, "leaky_relu")) return x > 0 ? x : 0.01f * x;
    if (!strcmp(kind, "silu")) return x * sigmoid(x);
    if (!strcmp(kind, "mish")) return x * tanhf(log1pf(expf(x)));
    if (!strcmp(kind, "sigmoid")) return sigmoid(x);
    if (!strcmp(kind, "tanh")) return tanhf(x);
    if (!strcmp(kind, "linear")) return x;
    /* what no framework offers */
    if (!strcmp(kind, "elu")) return x > 0 ? x : expm1f(x);
    if (!strcmp(kind, "softplus")) return log1pf(expf(x));
    if (!strcmp(kind, "gelu without its half")) return x * (1 + erff(x * root_of_half));
    if (!strcmp(kind, "gelu without its root")) return x * 0.5f * (1 + erff(x));
    if (!strcmp(kind, "gelu without its x")) return 0.5f * (1 + erff(x * root_of_half));
    if (!strcmp(kind, "gelu without its one")) return x * 0.5f * erff(x * root_of_half);
    if (!strcmp(kind, "gelu_new without its cube")) return x * 0.5f * (1 + tanhf(root * x));
    if (!strcmp(kind, "gelu_new without its root")) return x * 0.5f * (1 + tanhf(x + 0.044715f * x * x * x));
    return NAN;
}

static float *activated(const char *kind, const float *x, int size) {
    float *y = fresh(size);
    for (int i = 0; i < size; i++) y[i] = activate(kind, x[i]);
    return y;
}

/* ------------------------------------------------------------------------------------------------------------ embeddings */

static float *rows_of(const char *table, const long long *indices, int count) {
    const float *rows = pass.weight(table);
    float *x = fresh(count * pass.width);
    for (int i = 0; i < count; i++) memcpy(x + i * pass.width, rows + indices[i] * pass.width, pass.width * sizeof *x);
    return x;
}

static void sinusoids(float *x) { /* as in "Attention is all you need" */
    for (int s = 0; s < pass.length; s++)
        for (int d = 0; d < pass.width; d++) {
            double angle = s / pow(10000.0, (d - d % 2) / (double)pass.width);
            x[s * pass.width + d] = d % 2 ? cos(angle) : sin(angle);
        }
}

static float *embeddings(void) {
    int rows = pass.batch * pass.length, width = pass.width, shape[] = {1, pass.length, width};
    float *words = rows_of("embeddings.word_embeddings.weight", pass.ids, rows);
    float *types = rows_of("embeddings.token_type_embeddings.weight", pass.types, rows);
    float *places = rows_of("embeddings.position_embeddings.weight", pass.positions, pass.length);
    float *sum = fresh(rows * width), *x;
    if (on("positions-sinusoidal")) sinusoids(places);
    if (on("words-scaled"))
        for (int i = 0; i < rows * width; i++) words[i] *= sqrtf(width);
    keep_rows("embeddings.word_embeddings", words, width);
    keep_rows("embeddings.token_type_embeddings", types, width);
    pass.keep("embeddings.position_embeddings", places, 3, shape);
    for (int i = 0; i < rows * width; i++) {
        float place = factor_of("positions") * places[i % (pass.length * width)];
        sum[i] = factor_of("words") * words[i] + factor_of("types") * types[i] + place;
        if (on("positions-multiplied")) sum[i] = (words[i] + types[i]) * place;
        if (on("embeddings-scaled")) sum[i] *= sqrtf(width);
        if (on("embeddings-averaged")) sum[i] /= 3;
    }
    keep_rows("embeddings:sum", sum, width);
    x = layer_norm("embeddings.LayerNorm", sum);
    if (on("norm-before-positions"))
        for (int i = 0; i < rows * width; i++) sum[i] = words[i] + types[i];
    if (on("norm-before-positions")) {
        x = layer_norm("embeddings.LayerNorm", sum);
        for (int i = 0; i < rows * width; i++) x[i] += places[i % (pass.length * width)];
    }
    keep_rows("embeddings.LayerNorm", x, width);
    if (on("dropout")) drop(x, rows * width);
    keep_rows("embeddings.dropout", x, width);
    keep_rows("embeddings", x, width);
    return x;
}

/* ------------------------------------------------------------------------------------------------------------- attention */

static int head_size(void) { return pass.width / pass.heads; }

static float *split(const float *x) { /* [B, S, N * H] -> [B, N, S, H] */
    int size = head_size(), count = pass.batch * pass.heads * pass.length * size;
    float *y = fresh(count);
    if (on("heads-not-split")) return memcpy(y, x, count * sizeof *y);
    for (int i = 0; i < count; i++) {
        int h = i % size, s = i / size % pass.length, n = i / (size * pass.length) % pass.heads;
        int b = i / (size * pass.length * pass.heads), channel = n * size + h;
        if (on("heads-interleaved")) channel = h * pass.heads + n;
        if (on("heads-reversed")) channel = (pass.heads - 1 - n) * size + h;
        y[i] = x[(b * pass.length + s) * pass.width + channel];
    }
    return y;
}

static float *merge(const float *x) { /* [B, N, S, H] -> [B, S, N * H] */
    int size = head_size(), count = pass.batch * pass.heads * pass.length * size;
    float *y = fresh(count);
    if (on("heads-not-merged")) return memcpy(y, x, count * sizeof *y);
    for (int i = 0; i < count; i++) {
        int h = i % size, s = i / size % pass.length, n = i / (size * pass.length) % pass.heads;
        int b = i / (size * pass.length * pass.heads), channel = n * size + h;
        if (on("heads-interleaved") || on("heads-merged-interleaved")) channel = h * pass.heads + n;
        if (on("heads-reversed") || on("heads-merged-reversed")) channel = (pass.heads - 1 - n) * size + h;
        y[(b * pass.length + s) * pass.width + channel] = on("head-dropped") && n == pass.heads - 1 ? 0 : x[i];
        if (on("head-repeated") && n == 1) y[(b * pass.length + s) * pass.width + channel] = x[i - pass.length * size];
    }
    return y;
}

static float *scores_of(const float *q, const float *k) { /* q k^T: [B, N, S, S] */
    int length = pass.length, size = head_size();
    float *scores = fresh(pass.batch * pass.heads * length * length);
    for (int bn = 0; bn < pass.batch * pass.heads; bn++)
        for (int s = 0; s < length; s++)
            for (int t = 0; t < length; t++) {
                float sum = 0;
                for (int h = 0; h < size; h++) sum += q[(bn * length + s) * size + h] * k[(bn * length + t) * size + h];
                scores[(bn * length + s) * length + t] = sum;
            }
    return scores;
}

static int is_visible(int b, int s, int t) { /* whether token s may look at token t */
    const long long *mask = pass.mask + b * pass.length;
    int last = 0;
    for (int i = 0; i < pass.length; i++)
        if (mask[i]) last = i;
    if (on("mask-ignored")) return 1;
    if (on("mask-inverted")) return !mask[t];
    if (on("mask-wrong-axis")) return mask[s] != 0;
    if (on("mask-both-axes")) return mask[t] && mask[s];
    if (on("mask-first-row")) return pass.mask[t] != 0;
    if (on("mask-last-row")) return pass.mask[(pass.batch - 1) * pass.length + t] != 0;
    if (on("mask-batch-reversed")) return pass.mask[(pass.batch - 1 - b) * pass.length + t] != 0;
    if (on("mask-one-more")) return mask[t] && t != last;
    if (on("mask-one-fewer")) return mask[t] || t == last + 1;
    if (on("mask-first-token")) return mask[t] && t != 0;
    if (on("mask-diagonal")) return mask[t] && t != s;
    if (on("causal-added")) return mask[t] && t <= s;
    if (on("causal-upside-down")) return mask[t] && t >= s;
    if (on("causal-off-by-one")) return mask[t] && t <= s + 1;
    if (on("window-added")) return mask[t] && abs(t - s) <= 2;
    return mask[t] != 0;
}

static float hidden_score(void) { /* what is added where a token may not look */
    if (on("mask-of-minus-1")) return -1;
    if (on("mask-of-minus-10")) return -10;
    if (on("mask-of-1e-9")) return -1e-9f;
    if (on("mask-positive")) return 10000;
    return -10000;
}

static float scaled(float score) {
    float root = sqrtf(head_size());
    if (on("scale-missing")) return score;
    if (on("scale-root-missing")) return score / head_size();
    if (on("scale-by-width")) return score / sqrtf(pass.width);
    if (on("scale-by-heads")) return score / sqrtf(pass.heads);
    if (on("scale-twice")) return score / root / root;
    if (on("scale-multiplied")) return score * root;
    return score / root;
}

static float masked(float score, int b, int n, int s, int t) {
    int visible = is_visible(b, s, t);
    if (on("mask-after-softmax")) return scaled(score);
    if (on("mask-multiplied")) return visible ? scaled(score) : 0;
    if (on("mask-one-head") && n) return scaled(score);
    if (on("mask-weak-before-scale")) return scaled(score + (visible ? 0 : -10));
    if (on("alibi")) return scaled(score) - abs(s - t) / (n + 1.0f) + (visible ? 0 : -10000);
    return scaled(score) + (visible ? 0 : hidden_score());
}

static void softmax(float *x, int count, int stride) {
    float largest = x[0], sum = 0;
    for (int i = 1; i < count; i++) largest = fmaxf(largest, x[i * stride]);
    for (int i = 0; i < count; i++) {
        float y = x[i * stride] - largest;
        x[i * stride] = on("softmax-base-2") ? exp2f(y) : on("softmax-temperature") ? expf(y / 2) : expf(y);
        sum += x[i * stride];
    }
    if (on("softmax-plus-one")) sum += expf(-largest); /* "softmax1": a key of score 0 that nobody sees */
    if (on("softmax-not-divided")) sum = 1;
    for (int i = 0; i < count; i++) x[i * stride] /= sum;
}

static float *probabilities(const float *scores) { /* of [B, N, S, S] over the last axis */
    int length = pass.length, square = length * length, heads = pass.heads, count = pass.batch * heads * square;
    float *x = copy(scores, count);
    if (on("softmax-missing")) return x;
    if (on("softmax-over-queries")) {
        for (int i = 0; i < pass.batch * heads * length; i++) softmax(x + i / length * square + i % length, length, length);
    } else if (on("softmax-over-heads")) {
        for (int i = 0; i < pass.batch * square; i++) softmax(x + i / square * heads * square + i % square, heads, square);
    } else if (on("softmax-sigmoid")) {
        for (int i = 0; i < count; i++) x[i] = sigmoid(x[i]);
    } else {
        for (int i = 0; i < pass.batch * heads * length; i++) softmax(x + i * length, length, 1);
    }
    for (int i = 0; i < count; i++)
        if (on("mask-after-softmax") && !is_visible(i / (square * heads), i / length % length, i % length)) x[i] = 0;
    return x;
}

static float *context_of(const float *probs, const float *v) { /* [B, N, S, H] */
    int length = pass.length, size = head_size();
    float *context = fresh(pass.batch * pass.heads * length * size);
    for (int bn = 0; bn < pass.batch * pass.heads; bn++)
        for (int s = 0; s < length; s++)
            for (int h = 0; h < size; h++) {
                float sum = 0;
                for (int t = 0; t < length; t++) {
                    int place = on("probs-transposed") ? t * length + s : s * length + t;
                    sum += probs[bn * length * length + place] * v[(bn * length + t) * size + h];
                }
                context[(bn * length + s) * size + h] = sum;
            }
    return context;
}

static void rotate(float *x) { /* rotary positions, in place */
    int size = head_size(), half = size / 2;
    for (int i = 0; i < pass.batch * pass.heads * pass.length; i++)
        for (int h = 0; h < half; h++) {
            float angle = i % pass.length / powf(10000, 2.0f * h / size), a = x[i * size + h], b = x[i * size + h + half];
            x[i * size + h] = a * cosf(angle) - b * sinf(angle);
            x[i * size + h + half] = b * cosf(angle) + a * sinf(angle);
        }
}

static void exchange_first_head(float *q, float *k) {
    int each = pass.length * head_size();
    for (int b = 0; b < pass.batch; b++)
        for (int i = b * pass.heads * each; i < (b * pass.heads + 1) * each; i++) {
            float kept = q[i];
            q[i] = k[i];
            k[i] = kept;
        }
}

static float *self_attention(const char *self, const float *x) {
    int rows = pass.batch * pass.length, width = pass.width, length = pass.length;
    const float *source = on("keys-from-embeddings") ? embeddings() : x;
    float *query = linear(name("%s.query", self), x, rows, width, width);
    float *key = linear(name("%s.key", self), source, rows, width, width);
    float *value = linear(name("%s.value", self), source, rows, width, width);
    float *q, *k, *v, *scores, *probs, *context;
    if (on("query-from-key")) query = linear(name("%s.query", self), key, rows, width, width);
    if (on("query-activated")) query = activated("relu", query, rows * width);
    if (on("value-activated")) value = activated(pass.activation, value, rows * width);
    if (on("value-plus-input")) value = sum_of(value, 1, x, 1);
    keep_rows(name("%s.query", self), query, width);
    keep_rows(name("%s.key", self), key, width);
    keep_rows(name("%s.value", self), value, width);
    q = split(query), k = split(key), v = split(value);
    if (on("rotary")) rotate(q), rotate(k);
    if (on("first-head-exchanged")) exchange_first_head(q, k);
    keep_heads(name("%s:query", self), q, head_size());
    keep_heads(name("%s:key", self), k, head_size());
    keep_heads(name("%s:value", self), v, head_size());
    scores = scores_of(on("scores-from-keys") ? k : q, on("scores-from-queries") ? q : k);
    if (on("scores-exchanged")) scores = scores_of(k, q);
    keep_heads(name("%s:scores", self), scores, length);
    for (int i = 0; i < pass.batch * pass.heads * length * length; i++) {
        int bn = i / (length * length);
        scores[i] = masked(scores[i], bn / pass.heads, bn % pass.heads, i / length % length, i % length);
    }
    keep_heads(name("%s:masked_scores", self), scores, length);
    probs = probabilities(scores);
    if (on("dropout")) drop(probs, pass.batch * pass.heads * length * length);
    if (on("probs-in-bfloat16")) in_bfloat16(probs, pass.batch * pass.heads * length * length);
    keep_heads(name("%s.dropout", self), probs, length);
    keep_heads(name("%s:probs", self), probs, length);
    context = context_of(probs, on("context-from-keys") ? k : on("context-from-queries") ? q : v);
    if (on("context-plus-value")) context = sum_of(context, 1, v, 1);
    context = on("context-is-value") ? value : merge(context);
    keep_rows(self, context, width);
    return context;
}

/* ---------------------------------------------------------------------------------------------------------------- layers */

/* How each half of a layer ends: LayerNorm(dense(x) + residual). */
static float *hand_on(const char *output, const float *x, int in, const float *residual) {
    int rows = pass.batch * pass.length, width = pass.width;
    float *dense = linear(name("%s.dense", output), x, rows, in, width), *sum, *y;
    if (on("dense-twice") && in == width) dense = linear(name("%s.dense", output), dense, rows, width, width);
    if (on("dense-activated")) dense = activated(pass.activation, dense, rows * width);
    if (on("dense-missing") && in == width) dense = copy(x, rows * width);
    keep_rows(name("%s.dense", output), dense, width);
    if (on("dropout")) drop(dense, rows * width);
    keep_rows(name("%s.dropout", output), dense, width);
    sum = sum_of(dense, factor_of("dense"), residual, factor_of("residual"));
    if (on("sum-scaled")) sum = sum_of(sum, sqrtf(0.5f), sum, 0);
    if (on("norm-before-sum")) sum = dense;
    keep_rows(name("%s:residual", output), sum, width);
    y = layer_norm(name("%s.LayerNorm", output), sum);
    if (on("norm-before-sum")) y = sum_of(y, 1, residual, 1);
    if (on("sum-added-again")) y = sum_of(y, 1, residual, 1);
    keep_rows(name("%s.LayerNorm", output), y, width);
    keep_rows(output, y, width);
    return y;
}

static float *attention(const char *layer, const float *x, const float *first) {
    const char *output = name("%s.attention.output", layer), *own = name("%s.attention", layer);
    const float *read = x, *residual = x;
    float *context, *y;
    block_now = "attention";
    if (on("pre-norm")) read = layer_norm(name("%s.LayerNorm", output), x);
    context = self_attention(name("%s.attention.self", layer), read);
    if (on("residual-from-embeddings")) residual = first;
    if (on("residual-from-context")) residual = context;
    if (on("residual-from-norm")) residual = layer_norm(name("%s.LayerNorm", output), x);
    y = hand_on(output, context, pass.width, residual);
    keep_rows(own, y, pass.width);
    return y;
}

static float *feed_forward(const char *layer, const float *x, const float *attended, const float *first) {
    int rows = pass.batch * pass.length, wide = pass.inner;
    const char *output = name("%s.output", layer), *intermediate = name("%s.intermediate", layer);
    const char *dense = name("%s.intermediate.dense", layer);
    const float *read = attended, *residual = attended;
    float *y, *z;
    block_now = "feed-forward";
    if (on("reads-layer-input")) read = x;
    if (on("pre-norm")) read = layer_norm(name("%s.LayerNorm", output), attended);
    y = product(dense, read, rows, pass.width, wide);
    if (on("activation-before-bias")) {
        z = activated(pass.activation, y, rows * wide);
        add_bias(dense, z, rows, wide);
        add_bias(dense, y, rows, wide);
    } else {
        add_bias(dense, y, rows, wide);
        z = activated(pass.activation, y, rows * wide);
    }
    if (on("activation-twice")) z = activated(pass.activation, z, rows * wide);
    keep_rows(dense, y, wide);
    if (on("activation-in-bfloat16")) in_bfloat16(z, rows * wide);
    keep_rows(name("%s.intermediate_act_fn", intermediate), z, wide);
    keep_rows(intermediate, z, wide);
    if (on("residual-from-layer-input")) residual = x;
    if (on("residual-from-embeddings")) residual = first;
    return hand_on(output, z, wide, residual);
}

static float *one_layer(int index, const float *x, const float *first) {
    const char *layer = name("encoder.layer.%d", index);
    float *y;
    layer_now = index;
    block_now = "attention";
    y = on("attention-missing") ? copy(x, pass.batch * pass.length * pass.width) : attention(layer, x, first);
    block_now = "feed-forward";
    if (!on("feed-forward-missing")) y = feed_forward(layer, x, y, first);
    if (on("feed-forward-first")) y = attention(layer, feed_forward(layer, x, x, first), first);
    block_now = "layer";
    if (on("layer-adds-input")) y = sum_of(y, 1, x, 1);
    keep_rows(layer, y, pass.width);
    return y;
}

static void pooler(const float *hidden, const float *before, const float *first) {
    int width = pass.width, text = pass.length * width;
    const char *kind = on("pooler-sigmoid") ? "sigmoid" : on("pooler-relu") ? "relu" : on("pooler-gelu") ? "gelu" : "tanh";
    float *read = fresh(pass.batch * width), *x;
    if (on("pooler-reads-layer-before")) hidden = before;
    if (on("pooler-reads-embeddings")) hidden = first;
    for (int b = 0; b < pass.batch; b++)
        for (int d = 0; d < width; d++) {
            const float *column = hidden + b * text + d;
            float *y = read + b * width + d;
            int last = pass.length - 1;
            while (on("pooler-last-real-token") && last && !pass.mask[b * pass.length + last]) last--;
            *y = column[0];
            if (on("pooler-second-token")) *y = column[width];
            if (on("pooler-last-token") || on("pooler-last-real-token")) *y = column[last * width];
            if (on("pooler-mean") || on("pooler-max"))
                for (int s = 1; s < pass.length; s++) {
                    float other = column[s * width];
                    *y = on("pooler-max") ? fmaxf(*y, other) : *y + other;
                }
            if (on("pooler-mean")) *y /= pass.length;
            if (on("pooler-first-text")) *y = hidden[d];
        }
    x = linear("pooler.dense", read, pass.batch, width, width);
    keep_vector("pooler.dense", x);
    if (on("pooler-missing")) x = read;
    else if (!on("pooler-tanh-missing")) x = activated(kind, x, pass.batch * width);
    keep_vector("pooler.activation", x);
    keep_vector("pooler", x);
    keep_vector("output:pooler_output", x);
}

void run(const Pass *given) {
    const float *first, *before, *x;
    pass = *given;
    layer_now = -1;
    block_now = "embeddings";
    x = before = first = embeddings();
    for (int index = 0; index < pass.layers; index++) {
        layer_now = index;
        if (on("layer-missing")) continue;
        before = x;
        x = one_layer(index, x, first);
        if (on("layer-twice")) x = one_layer(index, x, first);
    }
    layer_now = -1;
    block_now = "layer";
    keep_rows("encoder", x, pass.width);
    keep_rows("output:last_hidden_state", x, pass.width);
    block_now = "pooler";
    if (pass.weight("pooler.dense.weight")) pooler(x, before, first);
    release();
}
