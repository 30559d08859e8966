"use strict";

const PERIOD = 2000, CHART_PERIOD = 1000, ROWS = 100, ROWS_MOST = 2000;

const $ = id => document.getElementById(id);
const numberFormat = new Intl.NumberFormat("en");
const count = n => numberFormat.format(n);

/* ---- how values are shown ---- */

function scaled(n, units, step) {
	let i = 0;
	while (n >= step && i < units.length - 1) {
		n /= step;
		i++;
	}
	return (i === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)) + units[i];
}
const bytes = n => scaled(n, [" B", " kB", " MB", " GB", " TB", " PB"], 1000);
const rate = n => (n % 1 && n < 10 ? n.toFixed(1) + " B" : bytes(n)) + "/s";
const short = n => n % 1 ? n.toFixed(1) : scaled(n, ["", "k", "M", "G", "T"], 1000);

function span(seconds) {
	if (seconds == null)
		return "–";
	if (seconds < 1)
		return Math.round(seconds * 1000) + " ms";
	if (seconds < 60)
		return seconds.toFixed(seconds < 10 ? 1 : 0) + " s";
	if (seconds < 3600)
		return Math.floor(seconds / 60) + " min";
	if (seconds < 86400)
		return Math.floor(seconds / 3600) + " h " + Math.floor(seconds % 3600 / 60) + " min";
	return Math.floor(seconds / 86400) + " d " + Math.floor(seconds % 86400 / 3600) + " h";
}
const clock = seconds => new Date(seconds * 1000).toLocaleTimeString("en-GB");
const milliseconds = s => s == null ? "–" : (s * 1000).toFixed(s < 0.01 ? 2 : 0) + " ms";

/* ---- tables ---- */

function element(name, attributes, ...children) {
	const e = document.createElement(name);
	for (const [key, value] of Object.entries(attributes || {}))
		if (value != null && value !== false)
			e.setAttribute(key, value === true ? "" : value);
	e.append(...children.filter(c => c != null));
	return e;
}

const pill = (text, kind) => element("span", {class: "pill " + kind}, text);

/* Columns: {head, value(row) -> text or element, number, mono, sort, title(row)}. Rows are kept by their keys, so that
 * what is selected stays so. */
class Table {
	constructor(id, columns, key, empty, onSort) {
		this.table = $(id);
		this.columns = columns;
		this.key = key;
		this.rows = new Map();
		this.heads = columns.map(c => element("th",
			{class: c.number ? "number" : null, "data-sort": c.sort, tabindex: c.sort ? 0 : null, scope: "col"}, c.head));
		this.body = element("tbody");
		this.table.append(element("thead", {}, element("tr", {}, ...this.heads)), this.body);
		this.empty = element("tr", {}, element("td", {class: "empty", colspan: columns.length}, empty));
		this.heads.forEach(h => {
			h.onclick = () => h.dataset.sort && onSort(h.dataset.sort);
			h.onkeydown = e => e.key === "Enter" && h.onclick();
		});
	}
	showSort(word) {
		const small = ["id", "service", "client", "server", "state"];
		for (const h of this.heads)
			if (h.dataset.sort === word)
				h.setAttribute("aria-sort", small.includes(word) ? "ascending" : "descending");
			else
				h.removeAttribute("aria-sort");
	}
	show(list) {
		const old = this.rows;
		this.rows = new Map();
		const order = list.map(item => {
			const key = this.key(item);
			const row = old.get(key) || element("tr", {}, ...this.columns.map(c =>
				element("td", {class: [c.number && "number", c.mono && "mono", c.wide && "wide"].filter(Boolean).join(" ") || null})));
			this.columns.forEach((c, i) => this.fill(row.cells[i], c, item));
			this.rows.set(key, row);
			return row;
		});
		if (order.length === 0)
			order.push(this.empty);
		order.forEach((row, i) => {
			if (this.body.rows[i] !== row)
				this.body.insertBefore(row, this.body.rows[i] || null);
		});
		while (this.body.rows.length > order.length)
			this.body.lastChild.remove();
	}
	fill(cell, column, item) {
		const value = column.value(item);
		const text = typeof value === "string" || typeof value === "number" ? String(value) : null;
		if (text != null) {
			if (cell.textContent !== text || cell.firstElementChild)
				cell.textContent = text;
		} else if (!value) {
			cell.textContent = "–";
		} else if (!cell.firstElementChild || cell.innerHTML !== value.outerHTML || value.onclick || value.dataset.live) {
			cell.replaceChildren(value);
		}
		if (column.title)
			cell.title = column.title(item) || "";
	}
}

/* ---- steering ---- */

let token = sessionStorage.getItem("token"), canSteer = false;

function say(text, good) {
	const [on, off] = good ? ["said", "trouble"] : ["trouble", "said"];
	$(off).hidden = true;
	$(on).hidden = false;
	$(on).textContent = text;
	clearTimeout(say.timer);
	say.timer = setTimeout(() => $(on).hidden = true, 8000);
}

function ask(title, text, wantsToken) {
	const dialog = $("ask");
	$("ask-title").textContent = title;
	$("ask-text").textContent = text;
	$("ask-token").hidden = !wantsToken;
	$("ask-token").value = "";
	dialog.returnValue = "no";
	dialog.showModal();
	return new Promise(done => dialog.onclose = () => done(dialog.returnValue === "yes"));
}

async function steer(words, title, text) {
	if (!await ask(title, text))
		return;
	try {
		const r = await fetch("/api/command", {method: "POST", body: words, headers: {Authorization: "Bearer " + token}});
		const answer = (await r.text()).trim();
		if (r.status === 403)
			setToken(null);
		say(answer.charAt(0).toUpperCase() + answer.slice(1), r.ok);
		poll();
	} catch (e) {
		say("This was not sent: " + e.message, false);
	}
}

function setToken(value) {
	token = value;
	if (value)
		sessionStorage.setItem("token", value);
	else
		sessionStorage.removeItem("token");
	loadConfig();
	showSteering();
}

function showSteering() {
	$("unlock").hidden = !canSteer;
	$("unlock").textContent = token ? "Lock" : "Steer";
	$("reload").hidden = !canSteer || !token;
	poll();
}

$("unlock").onclick = async () => {
	if (token)
		setToken(null);
	else if (await ask("Steer", "The token, as it stands in the file that the configuration names. It is kept until this tab is closed.", true))
		setToken($("ask-token").value.trim() || null);
};
$("reload").onclick = () => steer("reload", "Reload", "Read the configuration again? What fails changes nothing.");

function button(text, words, title, question) {
	const b = element("button", {}, text);
	b.onclick = () => steer(words, title, question);
	return b;
}

/* A word of a command: a program has spaces in it. */
const quoted = word => /[\s"#\\]/.test(word) ? `"${word.replace(/[\\"]/g, "\\$&")}"` : word;

function standingButtons(what) {
	if (!token || !canSteer)
		return "";
	const word = quoted(what.name);
	const box = element("span", {"data-live": "1"});
	box.append(what.state === "enabled"
		? button("Drain", "drain " + word, "Drain " + what.name, "No new connections there; those that there are go on to their end.")
		: button("Enable", "enable " + word, "Enable " + what.name, "New connections go there again."));
	if (what.state === "enabled")
		box.append(button("Disable", "disable " + word, "Disable " + what.name, "No new connections there until it is enabled."));
	return box;
}

/* ---- services, servers, workers ---- */

const WENT_WELL = new Set(["client-fin", "server-fin", "handler-exit", "killed", "stopped"]);
const failures = v => Object.entries(v.ends).reduce((sum, [end, n]) => sum + (WENT_WELL.has(end) ? 0 : n), 0);
const failureTitle = v => Object.entries(v.ends).filter(([end, n]) => n && !WENT_WELL.has(end)).map(([end, n]) => `${end} ${count(n)}`).join(", ");
const standing = v => v.configured ? pill(v.state, v.state === "enabled" ? "good" : "warn") : pill("removed", "");

const serviceStanding = v => v.refusing ? pill("refusing", "bad") : standing(v);
const withWaiting = v => count(v.active) + (v.waiting ? ` (${count(v.waiting)} waiting)` : "");

const usable = v => v.servers ? element("span", {class: v.usable ? "" : "pill bad"}, `${count(v.usable)} of ${count(v.servers)}`) : "";

const services = new Table("table-services", [
	{head: "Service", value: v => v.service, mono: true, title: v => v.service !== v.ports && `port ${v.ports}${v.within ? " of " + v.within : ""}`},
	{head: "State", value: serviceStanding},
	{head: "Servers", value: usable, number: true, title: () => "Clients may come to so many of them now"},
	{head: "Now", value: withWaiting, number: true},
	{head: "Ever", value: v => count(v.connections), number: true},
	{head: "Failed", value: v => count(failures(v)), number: true, title: failureTitle},
	{head: "From clients", value: v => bytes(v.client_bytes), number: true},
	{head: "From servers", value: v => bytes(v.server_bytes), number: true},
	{head: "", value: v => standingButtons({name: v.service, state: v.state}), number: true},
], v => v.service, "No service");

let now = 0; /* of the last status */

function health(v) {
	const words = {up: ["up", "good"], failed: ["failed", "bad"], unresolved: ["no address", "bad"], untried: ["not tried yet", ""],
		down: ["down", "bad"], ejected: ["ejected", "bad"], unknown: ["not checked yet", ""]};
	const shown = pill(...(words[v.health] || [v.health, ""]));
	const age = v.since && span((now - Date.parse(v.since)) / 1000);
	return ["failed", "down", "ejected"].includes(v.health) ? element("span", {class: "why"}, shown, ` ${age}: ${v.why}`) : shown;
}

/* One that grows (slow-start), or was changed, has another one than the file says. */
const weight = v => v.weight === null ? "" : v.weight === v.weight_file ? count(v.weight) : `${v.weight} of ${count(v.weight_file)}`;

const servers = new Table("table-servers", [
	{head: "Server", value: v => v.server, mono: true, title: v => v.server !== v.spelt && v.spelt},
	{head: "Health", value: health, title: v => [v.since && `since ${clock(Date.parse(v.since) / 1000)}`, v.why].filter(Boolean).join(": ")},
	{head: "State", value: standing},
	{head: "Weight", value: weight, number: true},
	{head: "Now", value: v => count(v.active), number: true},
	{head: "Ever", value: v => count(v.connections), number: true},
	{head: "No connect", value: v => count(v.connect_failures + v.connect_timeouts + v.unresolved), number: true,
		title: v => `refused or failed ${v.connect_failures}, too slow ${v.connect_timeouts}, without an address ${v.unresolved}`},
	{head: "To it", value: v => bytes(v.client_bytes), number: true},
	{head: "From it", value: v => bytes(v.server_bytes), number: true},
	{head: "", value: v => standingButtons({name: v.server, state: v.state}), number: true},
], v => v.server, "No server: programs only");

function workerState(w) {
	if (!w.pid)
		return pill("being replaced", "bad");
	if (!w.serving)
		return pill("starting", "warn");
	return w.accepting ? pill("serving", "good") : pill("has its share", "warn");
}

function fullness(w) {
	return element("span", {}, element("meter", {min: 0, max: w.slots, value: w.active, high: w.slots * 0.9}),
		`${count(w.active)} of ${count(w.slots)}`);
}

const workers = new Table("table-workers", [
	{head: "Worker", value: w => w.worker},
	{head: "State", value: workerState},
	{head: "Connections", value: fullness},
	{head: "Process", value: w => w.pid || "", number: true, mono: true},
	{head: "Keepers", value: w => w.keepers + " of 2", number: true},
	{head: "Takeovers", value: w => count(w.takeovers), number: true, title: () => "How often another worker took up all connections"},
	{head: "Parked pipes", value: w => count(w.pipes), number: true, title: () => "Pipes with bytes that a slow reader has not taken yet"},
	{head: "Descriptors", value: w => "up to " + count(w.descriptors), number: true},
	{head: "Memory", value: w => bytes(w.memory), number: true},
], w => w.worker, "No worker");

function showStatus(s) {
	now = Date.parse(s.time);
	const up = s.workers.filter(w => w.serving).length, takeovers = s.workers.reduce((n, w) => n + w.takeovers, 0);
	$("version").textContent = s.version;
	$("about").textContent = [s.configuration, "up " + span((Date.parse(s.time) - Date.parse(s.started)) / 1000), "process " + s.pid].filter(Boolean).join(" · ");
	const [text, kind] = s.stopping ? ["stopping", "warn"] : s.last_reload_failed ? ["serving, last reload failed", "warn"]
		: up < s.workers.length ? ["worker missing", "warn"] : ["serving", "good"];
	$("state").textContent = text;
	$("state").className = "pill " + kind;
	$("now-workers").textContent = `${up} of ${s.workers.length}`;
	$("takeovers").textContent = takeovers === 1 ? "1 takeover" : `${count(takeovers)} takeovers`;
	$("tile-workers").classList.toggle("alarm", up < s.workers.length);
	const sum = key => s.services.reduce((n, v) => n + v[key], 0);
	$("sum-up").textContent = bytes(sum("client_bytes")) + " since the start";
	$("sum-down").textContent = bytes(sum("server_bytes")) + " since the start";
	services.show(s.services);
	servers.show(s.servers);
	workers.show(s.workers);
	if (showStatus.generation !== s.generation) {
		showStatus.generation = s.generation;
		loadConfig();
	}
	$("generation").textContent = s.last_reload ? "last reload " + s.last_reload.slice(11, 19) : "";
}

/* ---- connections ---- */

let sort = "rate", rows = ROWS;

const connections = new Table("table-connections", [
	{head: "Id", value: c => String(c.id), sort: "id", number: true},
	{head: "Service", value: c => c.service, sort: "service", mono: true},
	{head: "Client", value: c => c.client, sort: "client", mono: true, title: c => c.name},
	{head: "Server", value: c => c.target || c.server, sort: "server", mono: true, title: c => c.server},
	{head: "State", value: c => c.state, sort: "state"},
	{head: "Age", value: c => span(c.duration), sort: "age", number: true},
	{head: "From client", value: c => bytes(c.up), sort: "up", number: true},
	{head: "From server", value: c => bytes(c.down), sort: "down", number: true},
	{head: "Rate", value: c => rate(c.rate_up + c.rate_down), sort: "rate", number: true},
	{head: "Round trip", value: c => milliseconds(c.client_rtt) + " / " + milliseconds(c.server_rtt), sort: "rtt", number: true,
		title: () => "To the client / to the server"},
	{head: "Sent again", value: c => c.client_retransmits == null ? "–" : c.client_retransmits + (c.server_retransmits || 0), sort: "retransmits", number: true},
	{head: "", value: c => token && canSteer ? button("Kill", "kill " + c.id, "Kill connection " + c.id, `${c.client} to ${c.server || c.target || "no server yet"}: both sides get a reset.`) : "", number: true},
], c => c.id, "No connection", word => {
	sort = word;
	connections.showSort(sort);
	pollConnections();
});
connections.showSort(sort);

function showConnections(c) {
	connections.show(c.connections);
	const shown = c.connections.length;
	$("shown").textContent = $("search").value.trim()
		? `${count(c.found)} of ${count(c.total)} match` + (shown < c.found ? `, ${count(shown)} shown` : "")
		: shown < c.total ? `${count(shown)} of ${count(c.total)}` : count(c.total);
	$("more").hidden = shown >= c.found || rows >= ROWS_MOST;
}

$("search").oninput = () => {
	clearTimeout(showConnections.timer);
	showConnections.timer = setTimeout(() => { rows = ROWS; pollConnections(); }, 150);
};
$("more").onclick = () => {
	rows = Math.min(rows * 4, ROWS_MOST);
	pollConnections();
};

/* ---- errors ---- */

let errors = [], lastError = 0;

const errorTable = new Table("table-errors", [
	{head: "Last", value: e => clock(e.time), mono: true},
	{head: "Times", value: e => count(e.times), number: true},
	{head: "What", value: e => e.reason, wide: true},
	{head: "Service", value: e => e.service || e.port || "", mono: true},
	{head: "Client", value: e => e.clients > 1 ? `${e.client} and ${e.clients - 1} more` : e.client, mono: true},
	{head: "Server", value: e => e.server, mono: true},
], e => e.key, "No error in the last hour");

/* A line of the log that names a client first, in the same columns as what happened to connections. */
function withClient(e) {
	const [client] = (!e.end && !e.reason.startsWith("server ") && e.reason.match(/\b\d+\.\d+\.\d+\.\d+:\d+|\[[0-9a-f:.]+\]:\d+/)) || [];
	return client ? {...e, client, reason: e.reason.replace(client, "a client").replace(/,? id=\d+/, "")} : e;
}

/* The same thing again and again is one line, whoever the clients were. */
function grouped(list) {
	const groups = new Map();
	for (const e of list.map(withClient)) {
		const key = [e.end || e.level, e.reason, e.port, e.server].join("|");
		const host = e.client && e.client.replace(/:\d+$/, "");
		const g = groups.get(key) || {times: 0, hosts: new Set()};
		if (host)
			g.hosts.add(host);
		groups.set(key, {...e, key, times: g.times + 1, hosts: g.hosts, clients: g.hosts.size, client: host});
	}
	return [...groups.values()].sort((a, b) => b.serial - a.serial).slice(0, 200);
}

function showErrors(answer) {
	if (answer.last < lastError)
		errors = [];
	lastError = answer.last;
	errors.push(...answer.errors);
	const oldest = Date.now() / 1000 - 3600;
	errors = errors.filter(e => e.time > oldest);
	const sum = answer.reasons.reduce((n, r) => n + r.count, 0);
	const top = answer.reasons.slice().sort((a, b) => b.count - a.count);
	$("now-errors").textContent = count(sum);
	$("tile-errors").classList.toggle("alarm", sum > 0);
	$("top-error").textContent = top.length ? top[0].reason : "none";
	$("top-error").title = top.length ? top[0].reason : "";
	$("reasons").replaceChildren(...top.map(r => element("li", {title: r.end}, element("b", {}, count(r.count)), r.reason)));
	errorTable.show(grouped(errors));
}

/* ---- configuration ---- */

async function loadConfig() {
	/* with the token it says what only those may know who have that */
	const c = await get("/api/config", token ? {Authorization: "Bearer " + token} : {});
	const lines = (c.text || "").replace(/\n$/, "").split("\n").map(line => {
		const [, indent, key, rest] = line.match(/^(\s*)(\S*)(.*)$/);
		return [indent, element("span", {class: "key"}, key), rest + "\n"];
	});
	$("config").replaceChildren(...lines.flat());
	if (canSteer !== c.steering) {
		canSteer = c.steering;
		showSteering();
	}
}

/* ---- charts ---- */

const series = {time: [], active: [], accepted: [], client_bytes: [], server_bytes: []};
let shownSpan = 300, charts = [];

const color = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/* Its own legend puts styles into attributes, which the policy of the page refuses; ours is the line above the chart. */
if (typeof Dygraph !== "undefined")
	Dygraph.PLUGINS = Dygraph.PLUGINS.filter(p => p !== Dygraph.Plugins.Legend);

function showLegend(chart, time, points, format) {
	const words = chart.parentElement.querySelectorAll(".legend span");
	words.forEach((w, i) => w.textContent = points ? format(points[i].yval) : "");
	chart.parentElement.querySelector(".at").textContent = points ? "at " + clock(time / 1000) : "";
}

function chartOptions(chart, format, names) {
	return {
		labels: ["time", ...names], colors: [color("--up"), color("--down")], axisLineColor: color("--edge"), gridLineColor: color("--soft"),
		fillGraph: true, fillAlpha: 0.12, strokeWidth: 1.6, includeZero: true, interactionModel: {}, rightGap: 8,
		axes: {
			y: {axisLabelFormatter: format, valueFormatter: format, axisLabelWidth: 64},
			x: {drawGrid: false, valueFormatter: t => new Date(t).toLocaleTimeString("en-GB"),
				axisLabelFormatter: t => t.toLocaleTimeString("en-GB").slice(0, t.getSeconds() ? 8 : 5)},
		},
		highlightCircleSize: 3,
		highlightCallback: (event, time, points) => showLegend(chart, time, points, format),
		unhighlightCallback: () => showLegend(chart), pixelRatio: window.devicePixelRatio || 1,
	};
}

function columns(names) {
	const from = series.time.length ? series.time[series.time.length - 1] - shownSpan : 0, list = [];
	for (let i = 0; i < series.time.length; i++)
		if (series.time[i] > from)
			list.push([new Date(series.time[i] * 1000), ...names.map(n => series[n][i])]);
	return list.length ? list : [[new Date(), ...names.map(() => 0)]];
}

function makeCharts() {
	charts.forEach(c => c.graph.destroy());
	charts = [];
	if (typeof Dygraph === "undefined") {
		for (const id of ["chart-bytes", "chart-connections"]) {
			$(id).className = "chart none";
			$(id).textContent = "This tcpproxy was built without charts (libjs-dygraphs).";
		}
		return;
	}
	for (const [id, names, labels, format] of [["chart-bytes", ["client_bytes", "server_bytes"], ["from clients", "from servers"], rate],
		["chart-connections", ["active", "accepted"], ["there are", "new each second"], short]])
		charts.push({names, graph: new Dygraph($(id), columns(names), chartOptions($(id), format, labels))});
	drawCharts();
}

function drawCharts() {
	const end = series.time.length ? series.time[series.time.length - 1] * 1000 : Date.now();
	for (const c of charts)
		c.graph.updateOptions({file: columns(c.names), dateWindow: [end - shownSpan * 1000, end]});
}

function addHistory(h) {
	if (h.time.length === 0)
		return;
	for (const key of Object.keys(series))
		series[key] = series[key].concat(h[key]).slice(-3600);
	const i = h.time.length - 1;
	$("now-active").textContent = count(h.active[i]);
	$("now-accepted").textContent = count(h.accepted[i]) + " new each second";
	$("now-up").textContent = rate(h.client_bytes[i]);
	$("now-down").textContent = rate(h.server_bytes[i]);
	drawCharts();
}

document.querySelectorAll("[data-span]").forEach(b => b.onclick = () => {
	shownSpan = Number(b.dataset.span);
	document.querySelectorAll("[data-span]").forEach(o => o.setAttribute("aria-pressed", o === b));
	drawCharts();
});

/* ---- light and dark ---- */

const systemDark = matchMedia("(prefers-color-scheme: dark)");

function applyTheme() {
	const chosen = localStorage.getItem("theme");
	document.documentElement.dataset.theme = chosen || (systemDark.matches ? "dark" : "light");
	$("theme").textContent = chosen === "dark" ? "Dark" : chosen === "light" ? "Light" : "Auto";
	makeCharts();
}
$("theme").onclick = () => {
	const next = {Auto: systemDark.matches ? "light" : "dark", Light: systemDark.matches ? null : "dark", Dark: systemDark.matches ? "light" : null};
	const chosen = $("theme").textContent === "Auto" ? next.Auto : next[$("theme").textContent];
	if (chosen)
		localStorage.setItem("theme", chosen);
	else
		localStorage.removeItem("theme");
	applyTheme();
};
systemDark.onchange = applyTheme;

/* ---- asking ---- */

async function get(path, headers = {}) {
	const r = await fetch(path, {cache: "no-store", headers});
	if (!r.ok)
		throw new Error(await r.text());
	return r.json();
}

let lost = false;
function setLost(now) {
	if (now) {
		$("state").textContent = "no answer";
		$("state").className = "pill bad";
		$("trouble").hidden = false;
		$("trouble").textContent = "tcpproxy does not answer here; what is shown is old. Trying again.";
	} else if (lost) {
		$("trouble").hidden = true;
	}
	lost = now;
}

/* One question of a kind at a time; a hidden page asks nothing. */
function asker(fn) {
	let busy = false, again = false;
	return async () => {
		if (document.hidden)
			return;
		if (busy) {
			again = true;
			return;
		}
		do {
			busy = true;
			again = false;
			try {
				await fn();
				setLost(false);
			} catch (e) {
				setLost(true);
			}
			busy = false;
		} while (again);
	};
}

const pollStatus = asker(async () => showStatus(await get("/api/status")));
const pollConnections = asker(async () => {
	const search = $("search").value.trim();
	showConnections(await get(`/api/connections?sort=${sort}&limit=${rows}` + (search ? "&search=" + encodeURIComponent(search) : "")));
});
const pollErrors = asker(async () => showErrors(await get("/api/errors?since=" + lastError)));
const pollHistory = asker(async () => addHistory(await get("/api/history?since=" + (series.time[series.time.length - 1] || 0))));

function poll() {
	pollStatus();
	pollConnections();
	pollErrors();
}

applyTheme();
poll();
pollHistory();
setInterval(poll, PERIOD);
setInterval(pollHistory, CHART_PERIOD);
document.onvisibilitychange = () => { poll(); pollHistory(); };
