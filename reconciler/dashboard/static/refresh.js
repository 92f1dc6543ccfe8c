// Brings the page up to date while somebody looks at it. Without this script the page reloads itself instead.
(() => {
  "use strict";
  const period = Number(document.documentElement.dataset.refresh) * 1000;
  const stale = document.getElementById("stale");
  let seen = null;

  const busy = () =>
    document.hidden ||
    String(document.getSelection() || "") !== "" ||
    (document.activeElement && document.activeElement.matches("input, select"));

  const openDetails = () => [...document.querySelectorAll("details[open][id]")].map((details) => details.id);

  async function refresh() {
    if (busy()) return;
    const open = openDetails();
    const focused = document.activeElement && document.activeElement.getAttribute("href");
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      const text = await answer.text();
      if (!answer.ok) throw new Error(`the engine answered ${answer.status}`);
      stale.hidden = true;
      delete stale.dataset.since;
      if (text === seen || busy()) return;
      seen = text;
      const fresh = new DOMParser().parseFromString(text, "text/html");
      for (const id of ["engine", "nav", "main"]) {
        document.getElementById(id).replaceWith(fresh.getElementById(id));
      }
      document.title = fresh.title;
      for (const id of open) document.getElementById(id)?.setAttribute("open", "");
      if (focused) document.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    } catch (error) {
      const since = stale.dataset.since || new Date().toISOString().slice(11, 19) + "Z";
      stale.dataset.since = since;
      stale.textContent = `No answer from the engine since ${since}. What you see is old. (${error.message})`;
      stale.hidden = false;
    }
  }

  if (period > 0) {
    setInterval(refresh, period);
    document.addEventListener("visibilitychange", refresh);
  }
})();
