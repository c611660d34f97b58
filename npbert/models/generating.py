def generate(*a, **k):
    from npbert.generation.search import generate

    return generate(*a, **k)
