// The demo's page: asks for news, draws it, posts what the person does. No library, no build.
"use strict";

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

/** Makes an element: make("p.note", {id: "x"}, "text", child, …). Text is text, never markup. */
function make(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function icon(name, className) {
  const space = "http" + "://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("aria-hidden", "true");
  if (className) svg.setAttribute("class", className);
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", "#" + name);
  svg.append(use);
  return svg;
}

const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
const exactClock = (ms) => new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });

const post = (path, body) =>
  fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "Portero-Demo": "1" },
    body: JSON.stringify(body),
  }).catch(() => {});

const page = document.body;
const narrow = matchMedia("(max-width: 759px)");
const wide = matchMedia("(min-width: 1500px)");
let state = null;
/** The number of the mail that is open, and those that were. */
let opened = null;
const read = new Set();
/** What each person wrote and saw, as far as the suggestions depend on it. */
const openedCode = {};
/** The last request to the bot that was there when its panel was looked at. */
let botSeen = 0;

// ---- views ----

function view(name) {
  page.dataset.view = name;
  for (const tab of $$(".tabs button")) tab.setAttribute("aria-pressed", String(tab.dataset.view === name));
  if (name === "bot" || name === "inside") beside(name);
  seen();
  badges();
  if (name === "chat") for (const phone of phones) phone.toEnd();
}

/** The panels of the bot and of the server share a column. */
function beside(name) {
  page.dataset.side = name;
  for (const button of $$(".sides button")) button.setAttribute("aria-pressed", String(button.dataset.side === name));
}

function pick(index) {
  page.dataset.phone = index;
  for (const button of $$("[data-pick]")) button.setAttribute("aria-pressed", String(button.dataset.pick === String(index)));
  phones[index].toEnd();
  seen();
  badges();
  steps();
  if (state) drawMischief(state.mischief);
}

const chosen = () => Number(page.dataset.phone);
const isLookedAt = (index) =>
  document.visibilityState === "visible" && (!narrow.matches || page.dataset.view === "chat") && (wide.matches || chosen() === index);

/** Tells which chats are looked at, so that their messages count as read. */
function seen() {
  if (!state) return;
  for (const phone of phones) {
    const unread = state.phones[phone.index].messages.some((message) => !message.mine && message.ticks !== "read");
    if (unread && isLookedAt(phone.index)) post("/demo/seen", { phone: phone.index });
  }
}

function badges() {
  if (!state) return;
  const mails = state.mails.filter((mail) => !read.has(mail.number)).length;
  const chats = state.phones.map((phone, index) => (isLookedAt(index) ? 0 : phone.messages.filter((m) => !m.mine && m.ticks !== "read").length));
  const show = (element, count) => {
    element.hidden = count === 0;
    element.textContent = count;
  };
  // What the bot is told about its own messages is no news.
  const messages = state.bot.filter((request) => request.kind === "message");
  const isSeen = narrow.matches ? page.dataset.view === "bot" : page.dataset.side === "bot";
  if (isSeen && messages.length) botSeen = messages[0].number;
  const requests = messages.filter((request) => request.number > botSeen).length;
  $("#bot-news").hidden = requests === 0;
  show($('[data-badge="bot"]'), requests);
  show($('[data-badge="mail"]'), mails);
  show($('[data-badge="chat"]'), page.dataset.view === "chat" ? 0 : chats.reduce((sum, n) => sum + n, 0));
  $$("[data-pick] .dot").forEach((dot, index) => { dot.hidden = chats[index] === 0; });
  document.title = (mails ? `(${mails}) ` : "") + "Portero demo";
}

// ---- phones ----

class Phone {
  constructor(element) {
    this.element = element;
    this.index = Number(element.dataset.phone);
    this.email = element.dataset.email;
    this.ending = element.dataset.ending;
    this.passedOn = $(".passed-on", element);
    this.chat = $(".chat", element);
    this.line = $(".chat-line", element);
    this.field = $("textarea", element);
    this.chips = $(".chips", element);
    this.hint = $(".hint", element);
    this.bubbles = new Map();
    this.typing = null;
    this.chipKey = "";
    this.hintKey = "";
    this.cardKey = "";
    $("form", element).addEventListener("submit", (event) => { event.preventDefault(); this.send(); });
    this.field.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); this.send(); }
    });
    element.addEventListener("focusin", () => { if (wide.matches && chosen() !== this.index) pick(this.index); });
    this.field.addEventListener("input", () => this.grow());
  }

  send() {
    const text = this.field.value.trim();
    if (!text) return;
    this.field.value = "";
    this.grow();
    this.stick = true;
    post("/demo/say", { phone: this.index, text });
  }

  fill(text) {
    this.field.value = text;
    this.grow();
    this.field.focus();
    this.element.classList.add("is-filled");
  }

  grow() {
    this.field.style.height = "auto";
    this.field.style.height = Math.min(this.field.scrollHeight, 120) + "px";
    this.element.classList.toggle("is-filled", this.field.value.trim() !== "");
  }

  toEnd() { this.chat.scrollTop = this.chat.scrollHeight; }

  draw(news) {
    const atEnd = this.stick || this.chat.scrollHeight - this.chat.scrollTop - this.chat.clientHeight < 80;
    this.stick = false;
    let before = null;
    let added = false;
    const known = new Set();
    for (const message of news.messages) {
      known.add(message.id);
      let bubble = this.bubbles.get(message.id);
      if (!bubble) {
        bubble = this.bubble(message, before);
        this.bubbles.set(message.id, bubble);
        this.chat.append(bubble);
        added = true;
      } else if (bubble.dataset.ticks !== message.ticks) {
        bubble.dataset.ticks = message.ticks;
        const old = $(".ticks", bubble);
        if (old) old.replaceWith(ticks(message.ticks));
      }
      before = message;
    }
    for (const [id, bubble] of this.bubbles) if (!known.has(id)) { bubble.remove(); this.bubbles.delete(id); }
    if (news.typing && !this.typing) {
      this.typing = make("div.row.theirs.first", { "aria-label": "typing" }, make("div.bubble.typing", {}, make("i"), make("i"), make("i")));
      this.chat.append(this.typing);
    } else if (!news.typing && this.typing) {
      this.typing.remove();
      this.typing = null;
    } else if (this.typing && added) {
      this.chat.append(this.typing);
    }
    this.line.textContent = news.typing ? "typing…" : this.line.dataset.usual;
    this.line.classList.toggle("is-typing", news.typing);
    this.drawPassedOn(news.passed_on);
    this.suggest(news.messages, news.passed_on);
    // Last: hint and suggestions take their room from the chat.
    if (atEnd) this.toEnd();
  }

  bubble(message, before) {
    const first = !before || before.mine !== message.mine || before.buttons.length > 0 || before.link;
    const row = make(`div.row.${message.mine ? "mine" : "theirs"}${first ? ".first" : ""}`, { "data-ticks": message.ticks });
    const bubble = make("div.bubble", {},
      message.forwarded ? make("p.forwarded", {}, icon("i-reply"), "Forwarded") : null,
      message.quoted ? make("p.quoted", {}, make("b", {}, message.quoted.mine ? "You" : $(".chat-name").textContent), shorten(message.quoted.body)) : null,
      make("p.said", {}, ...formatted(message.body)),
      message.footer ? make("p.footer", {}, message.footer) : null,
      make("span.meta", {}, make("time", {}, clock(message.at_ms)), message.mine ? ticks(message.ticks) : null));
    row.append(bubble);
    if (message.link) {
      row.append(this.link(message.id, message.link.title));
      row.append(make("button.pass-on", { type: "button", onclick: () => passOn(this, message.id) }, icon("i-reply"), `Forward to ${this.element.dataset.other}`));
    }
    for (const button of message.buttons) {
      row.append(make("button.option", { type: "button", onclick: () => { this.stick = true; post("/demo/tap", { phone: this.index, message: message.id, button: button.id }); } }, icon("i-reply"), button.title));
    }
    return row;
  }

  /** Opens in this phone's browser. */
  link(id, title) {
    return make("a.option.open", { href: `/demo/open?phone=${this.index}&message=${encodeURIComponent(id)}` }, icon("i-open"), title);
  }

  /** What somebody else has passed on, from a chat that is not this one. */
  drawPassedOn(card) {
    const key = card ? card.message : "";
    if (key === this.cardKey) return;
    this.cardKey = key;
    this.passedOn.hidden = !card;
    if (!card) { this.passedOn.replaceChildren(); return; }
    this.passedOn.replaceChildren(
      make("div.passed-on-head", {},
        make("span.avatar", { "aria-hidden": "true" }, card.from.slice(0, 1)),
        make("div", {}, make("p.chat-name", {}, card.from), make("p.chat-line", {}, "In another chat")),
        make("button.close", { type: "button", "aria-label": "Close this message", onclick: () => post("/demo/throw-away", { phone: this.index }) }, icon("i-close"))),
      make("div.row.theirs", {},
        make("div.bubble", {}, make("p.forwarded", {}, icon("i-reply"), "Forwarded"), make("p.said", {}, ...formatted(card.body))),
        this.link(card.message, card.link.title)));
  }

  /** What a person on this phone has to know now and nobody in the chat would tell. */
  advise(step, card) {
    const name = this.element.dataset.name;
    const bold = (text) => make("b", {}, text);
    const login = [`${name} signs in as `, bold(this.email), " with the password ", bold(this.element.dataset.password)];
    let words = null;
    if (step === "back") words = ["Signed in on the page. ", bold("Send"), " the words that are ready below: they show that page and chat are the same person."];
    else if (step === "link" || (card && !isIn(step))) words = login;
    else if (isIn(step)) words = ["Signed in: from here the bot answers. Its panel shows what it is given."];
    const key = words ? step + Boolean(card) : "";
    if (key === this.hintKey) return;
    this.hintKey = key;
    this.hint.hidden = !words;
    this.hint.replaceChildren(...(words || []));
  }

  /** Chips that fit what happened so far; each fills the field, the person sends. */
  suggest(messages, card) {
    const step = stepOf(this, messages);
    const code = openedCode[this.email];
    const mail = newestMail(this.email);
    const chips = [];
    const fill = (text, label = text) => chips.push([label, () => this.fill(text)]);
    if (step === "hello") { fill(this.index === 0 ? "Hola" : "Olá, bom dia"); fill(this.index === 0 ? "¿Qué pedidos tengo?" : "Quais são meus pedidos?"); }
    if (step === "address") { fill(this.email); fill(`mi correo es ${this.email}`, "in a sentence"); fill(page.dataset.stranger, "an unknown address"); }
    if (step === "code") {
      if (mail && code && openedCode[this.email] === mail.code) {
        fill(mail.code, `Type ${mail.code}`);
        fill(`mi código es ${mail.code.slice(0, 4)}-${mail.code.slice(4)}`, "in a sentence");
      } else if (mail) {
        chips.push(["Open the mail", () => { open(mail.number); view("mail"); }]);
      }
      if (!mail) fill(this.email, `Try ${this.email}`);
    }
    if (step === "link" || (card && !isIn(step))) chips.unshift(["Copy the password", () => copy(this.element.dataset.password)]);
    this.advise(step, card);
    if (isIn(step)) {
      const words = this.index === 0
        ? ["¿Qué pedidos tengo?", "¿Y mis facturas?", "¿Quién soy?", "Cerrar sesión"]
        : ["Quais são meus pedidos?", "E minhas faturas?", "Quem sou eu?", "Sair"];
      for (const text of words) fill(text);
    }
    const key = JSON.stringify(chips.map(([label]) => label));
    if (key === this.chipKey) return;
    this.chipKey = key;
    this.chips.replaceChildren(...chips.map(([label, act]) => make("button.chip", { type: "button", onclick: act }, label)));
  }
}

const copy = (text) => navigator.clipboard.writeText(text).catch(() => {});

/** Passes a link on to the other phone, as somebody does who wants in as somebody else. */
function passOn(phone, message) {
  post("/demo/pass-on", { phone: phone.index, message });
  pick(1 - phone.index);
  view("chat");
}

const isIn = (step) => step === "done" || step === "mischief";

/** Where a person stands: the panel says it, for only the server knows. */
function stepOf(phone, messages) {
  const contact = state.inside.contacts.find((one) => one.title.endsWith("…" + phone.ending));
  switch (contact && contact.state) {
    case "asked for the address":
    case "asked about the spelling": return "address";
    case "waiting for the code":
    case "the code is dead": return "code";
    case "waiting for the page":
    case "the link is dead": return "link";
    case "waiting for the way back": return "back";
    case "signed in": {
      // Asked since the last code, and answered.
      const since = messages.slice(messages.findLastIndex((m) => m.mine && (m.body.replace(/[^0-9]/g, "").length >= 6 || /\bQ7[A-Z2-7]{26}\b/i.test(m.body))) + 1);
      const asked = since.findIndex((m) => m.mine && /qui[eé]n soy|who am i|quem sou|pedido|order|factura|fatura|invoice/i.test(m.body));
      return asked >= 0 && since.slice(asked).some((m) => !m.mine) ? "mischief" : "done";
    }
    default: return "hello";
  }
}

/** The newest with a code: notices come to the same mailbox. */
const newestMail = (email) => state && state.mails.find((mail) => mail.to.includes(email) && mail.code);
const shorten = (text) => (text.length > 90 ? text.slice(0, 88) + "…" : text);

function ticks(name) {
  const words = { sent: "sent", delivered: "delivered", read: "read" }[name];
  const span = make(`span.ticks.${name}`, { role: "img", "aria-label": words, title: words });
  span.append(icon(name === "sent" ? "i-tick" : "i-ticks"));
  return span;
}

/** *bold*, _italic_, and addresses of the web as links; everything else is plain text. */
function formatted(text) {
  const parts = [];
  const pattern = /(https?:\/\/[^\s]+)|(?<![\w*])\*([^*\n]+)\*(?![\w*])|(?<![\w_])_([^_\n]+)_(?![\w_])/g;
  let from = 0;
  for (const found of text.matchAll(pattern)) {
    parts.push(text.slice(from, found.index));
    if (found[1]) parts.push(make("a", { href: found[1], target: "_blank", rel: "noopener noreferrer" }, found[1]));
    else if (found[2]) parts.push(make("b", {}, found[2]));
    else parts.push(make("i", {}, found[3]));
    from = found.index + found[0].length;
  }
  parts.push(text.slice(from));
  return parts;
}

const phones = $$(".phone").map((element) => new Phone(element));

// ---- mail ----

const mailRows = new Map();

function drawMails() {
  const list = $("#mail-list");
  $("#mail-empty").hidden = state.mails.length > 0;
  // Newest first: rows are put in front, oldest of the new ones first.
  for (const mail of [...state.mails].reverse()) {
    if (mailRows.has(mail.number)) continue;
    const row = make("li", {}, make("button.envelope.unread", { type: "button", onclick: () => open(mail.number) },
      make("span.to", {}, mail.to),
      make("time", {}, clock(mail.at_ms)),
      make("span.subject", {}, mail.subject || "(no subject)"),
      make("span.preview", {}, mail.preview)));
    mailRows.set(mail.number, row);
    list.prepend(row);
  }
  const known = new Set(state.mails.map((mail) => mail.number));
  for (const [number, row] of mailRows) if (!known.has(number)) { row.remove(); mailRows.delete(number); }
}

function open(number) {
  const mail = state.mails.find((one) => one.number === number);
  if (!mail) return;
  opened = number;
  read.add(number);
  if (mail.code) openedCode[mail.to] = mail.code;
  $("#reader").hidden = false;
  $("#view-mail").classList.add("has-open");
  $("#reader-subject").textContent = mail.subject || "(no subject)";
  $("#reader-route").textContent = `to ${mail.to} · ${exactClock(mail.at_ms)}`;
  $("#reader-body").src = `/demo/mail/${number}`;
  const owner = phones.find((phone) => phone.email === mail.to);
  if (owner) pick(owner.index);
  for (const [one, row] of mailRows) {
    const button = row.firstChild;
    button.classList.toggle("unread", !read.has(one));
    button.setAttribute("aria-current", String(one === number));
  }
  draw();
}

function close() {
  opened = null;
  $("#reader").hidden = true;
  $("#view-mail").classList.remove("has-open");
  for (const row of mailRows.values()) row.firstChild.setAttribute("aria-current", "false");
}

$("#reader-close").addEventListener("click", close);
$("#reader-chat").addEventListener("click", () => view("chat"));
$("#reader-body").addEventListener("load", (event) => {
  // The frame runs no scripts and may only be measured.
  const inner = event.target.contentDocument;
  event.target.style.height = "0";
  if (inner && inner.documentElement) event.target.style.height = Math.max(120, inner.documentElement.scrollHeight + 2) + "px";
});

// ---- the bot ----

const requestRows = new Map();

function drawBot() {
  const list = $("#bot-requests");
  $("#bot-empty").hidden = state.bot.length > 0;
  for (const request of [...state.bot].reverse()) {
    if (requestRows.has(request.number)) continue;
    // What becomes of one answer comes in a row: one line for it.
    const first = list.firstElementChild;
    const goesOn = request.kind !== "message" && first && first.matches(".request-news.ok") && isTaken(request);
    const row = goesOn ? first : request.kind === "message" ? messageToBot(request) : newsToBot(request);
    if (goesOn) row.querySelector("span").append(`, ${request.text}`);
    requestRows.set(request.number, row);
    list.prepend(row);
  }
  const known = new Set(state.bot.map((request) => request.number));
  const kept = new Set([...known].map((number) => requestRows.get(number)));
  for (const [number, row] of requestRows) {
    if (known.has(number)) continue;
    requestRows.delete(number);
    if (!kept.has(row)) row.remove();
  }
}

const isTaken = (one) => one.status >= 200 && one.status < 300;
const answered = (one) => pill(String(one.status ?? "no answer"), isTaken(one) ? "good" : "bad");

/** One line: the fate of a message of the bot's own. */
function newsToBot(request) {
  return make(`li.request-news${isTaken(request) ? ".ok" : ""}`, {}, make("time", {}, exactClock(request.at_ms)), make("span", {}, `${request.kind}: ${request.text}`), answered(request));
}

function messageToBot(request) {
  const shown = ["X-Hub-Signature-256", "webhook-id", "Portero-Identity"];
  const rows = (pairs) => make("dl", {}, ...pairs.flatMap(([label, value]) => [make("dt", {}, label), make("dd", {}, value)]));
  const value = (name) => request.headers.find(([known]) => known === name);
  const judged = (name, words, good) => {
    const header = value(name);
    return header ? [[make("span", {}, name, " ", pill(words, good ? "good" : "bad")), make("code", {}, header[1])]] : [];
  };
  const others = request.headers.filter(([name]) => !shown.includes(name));
  return make("li.card.request", {},
    make("div.card-head", {}, make("strong", {}, `“${shorten(request.text)}”`), make("span", {}, make("time", {}, exactClock(request.at_ms)), " ", answered(request))),
    make("h3", {}, "Headers"),
    rows([
      ...judged("X-Hub-Signature-256", request.signed ? "fits, as from Meta" : "does not fit", request.signed),
      ...[value("webhook-id")].filter(Boolean).map(([name, text]) => [name, make("code", {}, text)]),
      ...judged("Portero-Identity", request.identity, request.identity === "verified"),
    ]),
    request.claims.length ? make("div.claims", {}, rows(request.claims)) : null,
    make("details", {}, make("summary", {}, `${others.length} more headers`), rows(others.map(([name, text]) => [name, make("code", {}, text)]))),
    request.calls.length ? make("h3", {}, "What it did") : null,
    make("ol.calls", {}, ...request.calls.map((call) => make("li", {}, make("code", {}, call.call), answered(call), make("small", {}, call.told)))),
    request.reply ? make("p.reply", {}, ...formatted(request.reply)) : null);
}

// ---- inside ----

const pill = (text, tone) => make(`span.pill.${tone}`, {}, text);

/** Draws a list anew only when it changed, so that text in it can be selected. */
const drawn = {};
function redraw(selector, value, elements) {
  const key = JSON.stringify(value);
  if (drawn[selector] === key) return;
  drawn[selector] = key;
  $(selector).replaceChildren(...elements());
}

function drawInside(inside) {
  redraw("#inside-contacts", inside.contacts, () => inside.contacts.length
    ? inside.contacts.map((contact) => make("div.card", {},
        make("div.card-head", {}, make("strong", {}, contact.title), pill(contact.state, contact.tone)),
        contact.facts.length ? make("dl", {}, ...contact.facts.flatMap(([label, value]) => [make("dt", {}, label), make("dd", {}, value)])) : null))
    : [make("p.empty", {}, "Nobody has written yet.")]);
  redraw("#inside-outbox", inside.outbox, () => inside.outbox.length
    ? inside.outbox.map((entry) => make("div.entry", {},
        make("span.entry-what", {}, make("strong", {}, entry.what), make("span", {}, entry.to)),
        make("span.entry-state", {}, pill(entry.state, entry.tone), make("small", {}, entry.attempts === 1 ? "1 attempt" : `${entry.attempts} attempts`)),
        entry.detail ? make("small.entry-detail", {}, entry.detail) : null))
    : [make("p.empty", {}, "Nothing to send.")]);
  redraw("#inside-audit", inside.audit, () => inside.audit.length
    ? inside.audit.map((line) => make("li", {}, make("time", {}, exactClock(line.at_ms)), make("span", {}, line.what, line.who ? make("em", {}, line.who) : null)))
    : [make("li.empty", {}, "Nothing yet.")]);
  redraw("#inside-log", inside.log, () => [inside.log.join("\n") || "Nothing yet."]);
}

// ---- steps and mischief ----

function steps() {
  if (!state) return;
  const order = ["hello", "address", "code", "done", "mischief"];
  const phone = phones[chosen()];
  const step = stepOf(phone, state.phones[phone.index].messages);
  const onTheWeb = step === "link" || step === "back";
  const now = onTheWeb ? order.indexOf("code") : order.indexOf(step);
  // Once in, it stays the way that was taken.
  if (!isIn(step)) phone.onTheWeb = onTheWeb;
  $('[data-step="code"] .words').textContent = phone.onTheWeb ? "Sign in, Send" : "Type the code";
  $$(".steps li").forEach((step, index) => {
    step.classList.toggle("is-done", index < now);
    if (index === now) step.setAttribute("aria-current", "step"); else step.removeAttribute("aria-current");
  });
  $("#mischief").classList.toggle("is-next", order[now] === "mischief");
}

const newestLink = (phone) => state && state.phones[phone.index].messages.findLast((message) => message.link);

function drawMischief(mischief) {
  $('[data-act="lure"]').disabled = !newestLink(phones[chosen()]);
  let any = false;
  for (const button of $$("[data-switch]")) {
    const on = mischief[button.dataset.switch];
    button.setAttribute("aria-checked", String(on));
    any = any || on;
  }
  $("#mischief").classList.toggle("is-on", any);
}

for (const button of $$("[data-switch]")) {
  button.addEventListener("click", () => post("/demo/mischief", { what: button.dataset.switch, on: button.getAttribute("aria-checked") !== "true" }));
}

for (const button of $$("[data-act]")) {
  button.addEventListener("click", () => {
    const phone = phones[chosen()];
    const mail = newestMail(phone.email);
    $("#mischief").open = false;
    if (button.dataset.act === "unknown") post("/demo/say", { phone: phone.index, text: page.dataset.stranger });
    if (button.dataset.act === "wrong") {
      const right = (mail && mail.code) || "12345678";
      post("/demo/say", { phone: phone.index, text: right.slice(0, -1) + ((Number(right.at(-1)) + 1) % 10) });
    }
    if (button.dataset.act === "forward") {
      const other = phones[1 - phone.index];
      post("/demo/say", { phone: other.index, text: (mail && mail.code) || "12345678", forwarded: true });
      pick(other.index);
    }
    if (button.dataset.act === "lure") passOn(phone, newestLink(phone).id);
    view("chat");
  });
}

document.addEventListener("click", (event) => {
  const menu = $("#mischief");
  if (menu.open && !menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && $("#mischief").open) { $("#mischief").open = false; $("#mischief summary").focus(); }
});

// ---- news ----

function draw() {
  for (const phone of phones) phone.draw(state.phones[phone.index]);
  drawMails();
  drawBot();
  drawInside(state.inside);
  drawMischief(state.mischief);
  steps();
  seen();
  badges();
}

async function listen() {
  let version = null;
  for (;;) {
    try {
      const answer = await fetch("/demo/state" + (version === null ? "" : `?after=${version}`));
      if (!answer.ok) throw new Error(String(answer.status));
      const news = await answer.json();
      $("#offline").hidden = true;
      if (news.version !== version) {
        version = news.version;
        state = news;
        draw();
      }
    } catch {
      $("#offline").hidden = false;
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
}

for (const tab of $$(".tabs button")) tab.addEventListener("click", () => view(tab.dataset.view));
for (const button of $$(".sides button")) button.addEventListener("click", () => { beside(button.dataset.side); badges(); });
for (const button of $$("[data-pick]")) button.addEventListener("click", () => pick(Number(button.dataset.pick)));
document.addEventListener("visibilitychange", () => { seen(); badges(); });
for (const query of [narrow, wide]) query.addEventListener("change", () => { seen(); badges(); });
// Back from a page, the words to send are there already, and the address holds them too.
const ready = phones.find((phone) => phone.field.value.trim() !== "");
if (ready) {
  ready.grow();
  $(".send", ready.element).focus();
} else if (!narrow.matches) phones[chosen()].field.focus();
if (location.pathname !== "/") history.replaceState(null, "", "/");
listen();
