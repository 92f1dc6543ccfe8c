// Keeps the page true while somebody looks at it: tells each second how old it is, asks for what is new, changes what
// differs. It trusts no silence: whatever does not arrive makes the page old, and old is said in bar, header and title.
// Without this script the page reloads itself instead.
(() => {
  "use strict";
  const root = document.documentElement;
  const period = Number(root.dataset.refresh) * 1000;
  if (!(period > 0)) return;
  const patience = Math.max(period, 2000);
  const byId = (id) => document.getElementById(id);
  const asOfTime = () => byId("asof");

  // Two clocks: one stands still while a computer sleeps, the other is set by people. The larger answer is the safe one.
  const mark = () => ({ steady: performance.now(), wall: Date.now() });
  const since = (then) => Math.max(performance.now() - then.steady, Date.now() - then.wall, 0);

  const shown = { at: { steady: 0, wall: performance.timeOrigin }, asOf: Date.parse(asOfTime().dateTime) };
  let heard = shown.at; // when that was asked which was answered last
  let asked = null; // the question under way, and when it was put
  let last = shown.at;
  let trouble = null; // why the last question got no good answer: {words, link, final}
  let held = null; // what arrived while text was selected
  let etag = "";
  let title = document.title;

  // Times: ages grow by themselves; all others are told in the reader's zone, with UTC at hand.

  const now = () => shown.asOf + since(shown.at);
  const pad = (number) => String(number).padStart(2, "0");
  const day = (date) => `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
  const clock = (date) => `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
  const moment = (date) => (day(date) === day(new Date(now())) ? clock(date) : `${day(date)} ${clock(date)}`);
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

  function duration(ms) {
    const seconds = Math.max(0, Math.floor(ms / 1000));
    for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
      if (seconds >= 2 * size) return `${Math.floor(seconds / size)} ${unit}`;
    }
    return `${seconds} s`;
  }

  const write = (node, text) => node && node.textContent !== text && (node.textContent = text);

  function tellTimes(within) {
    for (const time of within.querySelectorAll("time[datetime]")) {
      const at = Date.parse(time.dateTime);
      if (Number.isNaN(at)) continue;
      const date = new Date(at);
      if (time.dataset.told !== time.dateTime) {
        time.dataset.told = time.dateTime;
        time.title = `${day(date)} ${clock(date)} ${zone} · ${date.toISOString().slice(0, 19).replace("T", " ")} UTC`;
      }
      if (!("age" in time.dataset)) {
        write(time, moment(date));
        continue;
      }
      const age = now() - at;
      write(time, age < 0 ? `in ${duration(-age)}` : `${duration(age)} ago`);
      if (time.dataset.late) time.classList.toggle("late", age > Number(time.dataset.late) * 1000);
    }
  }

  // What is said of the page itself.

  function judge() {
    const age = since(heard);
    const isStale = age >= 2 * period || Boolean(trouble?.final);
    const isLate = isStale || age >= 1.5 * period || trouble !== null;
    const contact = isStale ? "none" : isLate ? "late" : "live";
    if (root.dataset.contact !== contact) root.dataset.contact = contact;
    const pill = byId("contact");
    write(pill, { live: "Live", late: "Waiting", none: "STALE" }[contact]);
    pill.className = `pill ${{ live: "ok", late: "off", none: "bad" }[contact]}`;
    write(byId("age"), `${duration(since(shown.at))} ago`);
    byId("held").hidden = held === null;
    const stale = byId("stale");
    const why = trouble ? trouble.words : "The engine does not answer.";
    const words = `${why} What you see is as of ${moment(new Date(shown.asOf))}, and may be wrong.`;
    stale.hidden = !isStale;
    // Read aloud, so it changes only where it says something else; the age that grows stands before it.
    if (isStale && stale.dataset.words !== words) {
      stale.dataset.words = words;
      stale.replaceChildren(words, ...(trouble?.link ? [" ", link(trouble.link)] : []));
    }
    const wanted = isStale ? `STALE · ${title}` : title;
    if (document.title !== wanted) document.title = wanted;
    const beat = byId("beat");
    if (beat && contact === "none") {
      beat.className = "pill bad";
      write(beat, "Not known");
    } else if (beat) {
      const time = document.querySelector("#engine time[data-beat]");
      const isBehind = time && now() - Date.parse(time.dateTime) > Number(time.dataset.late) * 1000;
      beat.className = `pill ${isBehind && beat.dataset.tone === "ok" ? "warn" : beat.dataset.tone}`;
      write(beat, isBehind && beat.dataset.tone === "ok" ? "Late" : beat.dataset.word);
    }
  }

  function link({ href, words }) {
    const anchor = document.createElement("a");
    anchor.href = href;
    anchor.textContent = words;
    return anchor;
  }

  // What is new: only what differs is touched, so that focus, half-typed words, open details and scroll stay.

  const keyOf = (node) => (node.nodeType === 1 ? node.id || node.dataset.key || "" : "");
  const isAlike = (one, other) => one.nodeName === other.nodeName && keyOf(one) === keyOf(other);

  function patch(old, fresh) {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeType !== 1) {
      old.data = fresh.data;
      return;
    }
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    const keyed = new Map([...old.children].filter(keyOf).map((child) => [keyOf(child), child]));
    let next = old.firstChild;
    for (const child of [...fresh.childNodes]) {
      let match = keyed.get(keyOf(child));
      if (!match || match.nodeName !== child.nodeName) match = next && isAlike(next, child) ? next : null;
      else keyed.delete(keyOf(child)); // what is named twice is shown twice
      if (!match) {
        old.insertBefore(child, next);
        continue;
      }
      if (match === next) next = next.nextSibling;
      else old.insertBefore(match, next);
      patch(match, child);
    }
    while (next) {
      const gone = next;
      next = next.nextSibling;
      gone.remove();
    }
  }

  function isSelecting() {
    const selection = document.getSelection();
    return Boolean(selection) && !selection.isCollapsed && selection.toString() !== "";
  }

  function show({ page, asOf, at }) {
    if (page) {
      const version = page.documentElement.dataset.version;
      if (version !== root.dataset.version) return location.reload();
    }
    Object.assign(shown, { asOf, at });
    held = null;
    asOfTime().dateTime = new Date(asOf).toISOString();
    if (page) {
      title = page.title;
      tellTimes(page);
      for (const id of ["engine", "nav", "main"]) patch(byId(id), page.getElementById(id));
    }
  }

  async function ask() {
    const at = mark();
    asked = last = at;
    try {
      const headers = { Accept: "text/html", ...(etag ? { "If-None-Match": etag } : {}) };
      const signal = AbortSignal.timeout(patience);
      const answer = await fetch(location.href, { headers, signal, cache: "no-store" });
      const text = await answer.text();
      const asOf = Date.parse(answer.headers.get("reconciler-as-of"));
      if (answer.status === 401) {
        trouble = { words: "Signed out.", link: { href: "/login", words: "Sign in" }, final: true };
      } else if (Number.isNaN(asOf)) {
        const gone = answer.status === 404;
        const words = gone ? "The engine says that this is not there any more." : `The engine answered ${answer.status}.`;
        trouble = { words, final: gone };
      } else {
        trouble = null;
        heard = at;
        const isNew = answer.status !== 304;
        etag = answer.headers.get("etag") || etag;
        const page = isNew ? new DOMParser().parseFromString(text, "text/html") : (held?.page ?? null);
        const fresh = { page, asOf, at };
        beatAt(answer.headers.get("reconciler-beat-at"));
        if (page && isSelecting()) held = fresh;
        else show(fresh);
      }
    } catch (error) {
      const isSlow = error.name === "TimeoutError";
      trouble = { words: isSlow ? "The engine does not answer." : "The engine cannot be reached.", final: false };
    }
    asked = null;
    tell();
  }

  function beatAt(iso) {
    const time = document.querySelector("#engine time[data-beat]");
    if (time && iso) time.dateTime = iso;
  }

  function tell() {
    tellTimes(document);
    judge();
  }

  function tick() {
    if (held && !isSelecting()) show(held);
    if (!asked && since(last) >= period - 100) ask();
    // A tab in the background is woken seldom: it judges by what it hears then, not by how long it slept.
    if (document.hidden && asked) return;
    tell();
  }

  byId("zone").textContent = zone === "UTC" ? "UTC" : `${zone} time, UTC on hover`;
  addEventListener("beforeprint", () => document.querySelectorAll("details:not([open])").forEach((one) => {
    one.dataset.printed = "1";
    one.open = true;
  }));
  addEventListener("afterprint", () => document.querySelectorAll("details[data-printed]").forEach((one) => {
    delete one.dataset.printed;
    one.open = false;
  }));
  document.addEventListener("visibilitychange", () => document.hidden || asked || ask());
  addEventListener("pageshow", (event) => event.persisted && !asked && ask());
  setInterval(tick, 1000);
  // A page that a browser kept for itself is older than it looks: ask at once.
  if (Math.abs(Date.now() - shown.asOf) > 2 * period) ask();
  tell();
})();
