// Signs in, and shows what GET /status says. Text gets into the page by textContent alone. The token in the answer of
// POST /login is not kept: the cookie, which no script can read, is enough.

const find = (id) => document.getElementById(id);
const TROUBLE = "The server did not answer. Check the connection and try again.";

function element(tag, text = "", className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = className;
  return made;
}

function count(number, unit) {
  return `${number} ${unit}${number === 1 ? "" : "s"}`;
}

function capitalized(text) {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}

function say(text, { isError = false } = {}) {
  const place = find("message");
  place.hidden = !text;
  place.classList.toggle("bad", isError);
  place.textContent = text;
}

function complain(text) {
  const place = find("sign-in-error");
  place.hidden = !text;
  place.textContent = text;
}

async function ask(path, options = {}) {
  try {
    return await fetch(path, { cache: "no-store", credentials: "same-origin", ...options });
  } catch {
    return null;
  }
}

function whenToTryAgain(response) {
  const seconds = Number(response.headers.get("Retry-After"));
  if (!seconds) return "in a moment";
  return seconds < 120 ? `in ${count(seconds, "second")}` : `in ${count(Math.ceil(seconds / 60), "minute")}`;
}

function reasonOf(response) {
  if (response === null) return TROUBLE;
  if (response.status === 401) return "The name or the password is wrong.";
  if (response.status === 429) return `Too many failed attempts. Try again ${whenToTryAgain(response)}.`;
  if (response.status === 503) {
    return `The server is busy, or its database is unavailable. Try again ${whenToTryAgain(response)}.`;
  }
  return `The server answered with an unexpected status (${response.status}).`;
}

// --- The state of the deployment ---

const SERVICE_STATES = {
  ok: ["OK", "good"],
  "not configured": ["Not configured", "plain"],
};

function chip(text, kind) {
  return element("span", text, `chip ${kind}`);
}

function service(title, check, lines) {
  const [text, kind] = SERVICE_STATES[check.state] ?? [capitalized(check.state), "bad"];
  const box = document.createElement("div");
  const head = element("dt", title);
  head.append(" ", chip(text, kind));
  box.append(head, ...lines.filter(Boolean).map((line) => element("dd", line)));
  return box;
}

function whenRead({ age_seconds: age, next_try_seconds: next }) {
  if (next === null) return "Read each time a secret is used";
  return `Read ${count(age ?? 0, "second")} ago, next in ${count(next, "second")}`;
}

function storeLines(store) {
  return [capitalized(store.place), whenRead(store), store.reason];
}

function placeOf(check) {
  return check.state === "ok" ? "here" : "in the application's memory";
}

const WHEN_WELL = {
  database: (check) => `Accounts are kept ${placeOf(check)}`,
  redis: (check) => `Logins are counted ${placeOf(check)}`,
  encryption: (check) => (check.state === "ok" ? "ENCRYPTION_KEY opens the stored data" : "No data is stored"),
};

function showServices({ store, services }) {
  const others = Object.entries(services).map(([name, check]) =>
    service(capitalized(name), check, [
      check.reason ?? WHEN_WELL[name]?.(check),
      check.logins && `Logins are ${check.logins}`,
    ]),
  );
  find("services").replaceChildren(service("Store", store, storeLines(store)), ...others);
}

function showFindings(findings) {
  find("no-findings").hidden = findings.length > 0;
  find("some-findings").hidden = findings.length === 0;
  find("findings").replaceChildren(
    ...findings.map(({ problem, command }) => {
      const item = document.createElement("li");
      item.append(element("p", problem), element("code", command));
      return item;
    }),
  );
}

function day(time) {
  return time.slice(0, 10);
}

function minute(time) {
  return `${time.replace("T", " ").slice(0, 16)} UTC`;
}

function cell(label, content, small = "") {
  const made = document.createElement("td");
  made.setAttribute("role", "cell");
  made.dataset.label = label;
  const box = document.createElement("span");
  box.append(content);
  if (small) box.append(element("span", small, "small"));
  made.append(box);
  return made;
}

function emptyCell() {
  const made = cell("", "–");
  made.dataset.empty = "";
  return made;
}

function dueCell({ due_at: due, rotation_days: period }) {
  if (period === null) return cell("Due", "Never");
  if (due === null) return cell("Due", "Unknown", `Every ${count(period, "day")}`);
  const days = Math.ceil((new Date(due) - Date.now()) / 86_400_000);
  if (days <= 0) return cell("Due", chip("Overdue", "warn"), `Since ${day(due)}`);
  return cell("Due", `In ${count(days, "day")}`, day(due));
}

function earlierCell({ earlier }) {
  if (earlier.length === 0) return cell("Earlier values", "None");
  const ends = earlier.map((one) => one.valid_until);
  if (ends.includes(null)) return cell("Earlier values", `${earlier.length} kept`, "Until removed by hand");
  return cell("Earlier values", `${earlier.length} in grace`, `Until ${minute(ends.sort().at(-1))}`);
}

const STRENGTHS = { strong: ["Strong", "good"], "no fault found": ["No fault found", "plain"], "not judged": ["Not judged", "plain"] };

function strengthCell({ strength }) {
  const [text, kind] = STRENGTHS[strength] ?? [capitalized(strength), "warn"];
  return cell("Strength", chip(text, kind));
}

function cells(secret) {
  if (!secret.set) {
    const state = secret.required ? chip("Not set", "bad") : "Not used";
    return [cell("Age", state), emptyCell(), emptyCell(), emptyCell()];
  }
  const age = secret.age_days === null
    ? cell("Age", "Unknown")
    : cell("Age", secret.age_days === 0 ? "Today" : count(secret.age_days, "day"), day(secret.updated_at));
  return [age, dueCell(secret), earlierCell(secret), strengthCell(secret)];
}

function headCell(secret) {
  const head = document.createElement("th");
  head.scope = "row";
  head.setAttribute("role", "rowheader");
  head.append(element("span", secret.name, "name"), element("span", secret.description, "small"));
  return head;
}

function row(className, ...content) {
  const made = element("tr", "", className);
  made.setAttribute("role", "row");
  made.append(...content);
  return made;
}

function groupRow(title) {
  const head = element("th", title);
  head.colSpan = 5;
  head.scope = "colgroup";
  head.setAttribute("role", "columnheader");
  return row("group", head);
}

function showSecrets(secrets) {
  const rows = [];
  let group = null;
  for (const secret of secrets) {
    if (secret.group !== group) rows.push(groupRow(secret.group));
    group = secret.group;
    rows.push(row("", headCell(secret), ...cells(secret)));
  }
  find("secrets").replaceChildren(...rows);
}

function showState(state) {
  find("ready").textContent = state.ready ? "Ready" : "Not ready";
  find("ready").className = `chip ${state.ready ? "good" : "bad"}`;
  find("checked-at").dateTime = state.checked_at;
  find("checked-at").textContent = minute(state.checked_at);
  showServices(state);
  showFindings(state.findings);
  showSecrets(state.secrets);
}

// --- Which of the two is shown ---

function show(isSignedIn) {
  find("sign-in").hidden = isSignedIn;
  find("status").hidden = find("actions").hidden = !isSignedIn;
  if (isSignedIn) return;
  find("services").replaceChildren();
  find("findings").replaceChildren();
  find("secrets").replaceChildren();
}

async function load() {
  const response = await ask("status");
  if (response?.ok) {
    showState(await response.json());
    show(true);
    return true;
  }
  if (response?.status === 401) {
    const wasSignedIn = !find("status").hidden;
    show(false);
    say(wasSignedIn ? "Your session has ended. Sign in again." : "");
    find("username").focus();
    return false;
  }
  say(reasonOf(response), { isError: true });
  if (find("status").hidden) show(false);
  return false;
}

async function signIn(event) {
  event.preventDefault();
  complain("");
  say("");
  const { username, password } = event.target.elements;
  find("submit").disabled = true;
  const response = await ask("login", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ username: username.value, password: password.value }),
  });
  find("submit").disabled = false;
  if (!response?.ok) {
    complain(reasonOf(response));
    password.select();
    return;
  }
  event.target.reset();
  if (await load()) find("status-title").focus();
}

async function signOut() {
  const response = await ask("logout", { method: "POST" });
  if (response === null || (!response.ok && response.status !== 401)) {
    say(`You are still signed in. ${reasonOf(response)}`, { isError: true });
    return;
  }
  show(false);
  say("You are signed out.");
  find("username").focus();
}

async function refresh() {
  say("");
  if (await load()) say("The state was read again.");
}

find("sign-in-form").addEventListener("submit", signIn);
find("sign-out").addEventListener("click", signOut);
find("refresh").addEventListener("click", refresh);
load();
