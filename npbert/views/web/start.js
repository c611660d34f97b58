// The last script: unpack the data, then let the page's own `drawPage` draw.

(async () => {
  const page = document.getElementById("page");
  try {
    DATA = JSON.parse(document.getElementById("data").textContent);
    await Promise.all(unpack(DATA));
    readAddress();
    addEventListener("hashchange", () => { readAddress(); listeners.forEach((listener) => listener()); });
    page.replaceChildren(...drawPage().flat(Infinity).filter((part) => part != null));
    document.documentElement.dataset.ready = "yes";
  } catch (error) {
    page.replaceChildren(el("p", { role: "alert" }, `This page could not draw itself (${error.message}). It needs a browser of 2023 or later.`));
    document.documentElement.dataset.ready = "failed";
    throw error;
  }
})();
