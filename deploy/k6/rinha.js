// The load test of the Rinha de Backend 2024/Q1, for k6: the validations A to E first (in `setup`, so the load waits
// for them), then the load F with open arrival rates and a new connection for every request, then the contest's score.
//
//   k6 run deploy/k6/rinha.js
//
// BASE_URL  where the service is                          (http://localhost:9999)
// RAMP      the time from the first request to full rate  (2m)
// HOLD      the time at full rate                         (2m)
// RATE      a factor on all rates: 0.5 is half the load   (1)
// TIMES     bounds of the response times in ms, in k6's
//           notation: "med<20,p(99)<=3"                   (none)
// SUMMARY   a file for the figures as JSON                (none)
//
// An HTML report: K6_WEB_DASHBOARD=true K6_WEB_DASHBOARD_EXPORT=report.html
import { check, fail } from 'k6';
import http from 'k6/http';
import { Counter, Rate } from 'k6/metrics';

const BASE = __ENV.BASE_URL || 'http://localhost:9999';
const RAMP = __ENV.RAMP || '2m';
const HOLD = __ENV.HOLD || '2m';
const RATE = Number(__ENV.RATE || 1);
const TIMES = (__ENV.TIMES || '').split(',').filter((rule) => rule.trim());

const LIMITES = { 1: 100000, 2: 80000, 3: 1000000, 4: 10000000, 5: 500000 };
const CLIENTES = Object.keys(LIMITES).map(Number);
// The contest's price and its deductions.
const USD = { contract: 100000, perPercentMissing: 1000, perInconsistency: 803.01, percentWanted: 98, withinMs: 250 };

const good = new Rate('answered_ok_within_250ms');
const inconsistent = new Counter('inconsistent_saldo');

// 422 is a valid answer: a debit over the limit.
http.setResponseCallback(http.expectedStatuses(200, 422));

// Rates are whole numbers; at least one a second.
const perSecond = (rate) => Math.max(1, Math.round(rate * RATE));
const load = (exec, rate) => ({
  executor: 'ramping-arrival-rate',
  exec,
  startRate: 1,
  timeUnit: '1s',
  preAllocatedVUs: Math.max(10, perSecond(rate)),
  maxVUs: Math.max(50, 5 * perSecond(rate)),
  stages: [
    { duration: RAMP, target: perSecond(rate) },
    { duration: HOLD, target: perSecond(rate) },
  ],
});

export const options = {
  noConnectionReuse: true,
  batch: 25,
  batchPerHost: 25,
  setupTimeout: '60s',
  summaryTrendStats: ['avg', 'med', 'p(75)', 'p(95)', 'p(99)', 'max'],
  scenarios: {
    debitos: load('debito', 220),
    creditos: load('credito', 110),
    extratos: load('extrato', 10),
  },
  thresholds: {
    checks: ['rate==1'],
    http_req_failed: ['rate==0'],
    dropped_iterations: ['count==0'],
    inconsistent_saldo: ['count==0'],
    answered_ok_within_250ms: [`rate>=${USD.percentWanted / 100}`],
    http_req_duration: TIMES,
    // Listed, so that the summary has a line for each.
    'http_req_duration{kind:debito}': ['max>=0'],
    'http_req_duration{kind:credito}': ['max>=0'],
    'http_req_duration{kind:extrato}': ['max>=0'],
  },
};

const transacoes = (id, body, kind) => ({
  method: 'POST',
  url: `${BASE}/clientes/${id}/transacoes`,
  body: typeof body === 'string' ? body : JSON.stringify(body),
  params: { headers: { 'Content-Type': 'application/json' }, tags: { kind, name: 'transacoes' } },
});
const extratos = (id, kind) => ({
  method: 'GET',
  url: `${BASE}/clientes/${id}/extrato`,
  params: { tags: { kind, name: 'extrato' } },
});

// ---- A to E: the validations, before anything is measured ---------------------------------------------------------

const must = (what, holds) => {
  if (!check(null, { [what]: () => holds })) {
    fail(`validation failed: ${what}`);
  }
};
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const batch = (requests) => http.batch(requests);
const json = (response) => {
  try {
    return response.json();
  } catch (_) {
    return {};
  }
};

function twentyFiveAtOnce(tipo, total) {
  const body = { valor: 1, tipo, descricao: 'validacao' };
  const answers = batch(Array.from({ length: 25 }, () => transacoes(1, body, 'validation')));
  must(`25 simultaneous ${tipo} are answered 200`, answers.every((answer) => answer.status === 200));
  const saldo = json(batch([extratos(1, 'validation')])[0]).saldo;
  must(`after them the total is ${total}`, saldo !== undefined && saldo.total === total);
}

// The same step for all five clients side by side.
const forAll = (request) => batch(CLIENTES.map(request)).map((answer, index) => [CLIENTES[index], answer]);

function step(what, body) {
  const answers = forAll((id) => transacoes(id, body, 'validation'));
  must(`${what}: 200 with limite and saldo`, answers.every(([id, answer]) =>
    answer.status === 200 && json(answer).limite === LIMITES[id] && Number.isInteger(json(answer).saldo)));
  return answers.map(([, answer]) => json(answer));
}

function fiveClients() {
  for (const [id, answer] of forAll((cliente) => extratos(cliente, 'validation'))) {
    const { saldo } = json(answer);
    must(`client ${id} exists with its limite and a total of 0`,
      answer.status === 200 && saldo.limite === LIMITES[id] && saldo.total === 0);
  }
  step('credit', { valor: 1, tipo: 'c', descricao: 'toma' });
  step('debit', { valor: 1, tipo: 'd', descricao: 'devolve' });
  for (const [id, answer] of forAll((cliente) => extratos(cliente, 'validation'))) {
    const last = (json(answer).ultimas_transacoes || []).slice(0, 2)
      .map(({ descricao, tipo, valor }) => ({ descricao, tipo, valor }));
    must(`the extrato of client ${id} shows devolve, then toma`, same(last, [
      { descricao: 'devolve', tipo: 'd', valor: 1 },
      { descricao: 'toma', tipo: 'c', valor: 1 },
    ]));
  }
  const posted = step('read your write', { valor: 1, tipo: 'c', descricao: 'danada' });
  const four = CLIENTES.flatMap((id) => [1, 2, 3, 4].map(() => extratos(id, 'validation')));
  batch(four).forEach((answer, index) => {
    const { saldo, ultimas_transacoes: last } = json(answer);
    const { saldo: total, limite } = posted[Math.floor(index / 4)];
    must('4 parallel extratos show danada first, and the saldo of its answer', answer.status === 200
      && last[0].descricao === 'danada' && saldo.total === total && saldo.limite === limite);
  });
  for (const body of [
    { valor: 1.2, tipo: 'd', descricao: 'devolve' },
    { valor: 1, tipo: 'x', descricao: 'devolve' },
    { valor: 1, tipo: 'c', descricao: '123456789 e mais um pouco' },
    { valor: 1, tipo: 'c', descricao: '' },
    { valor: 1, tipo: 'c', descricao: null },
  ]) {
    const refused = forAll((id) => {
      const request = transacoes(id, body, 'validation');
      request.params.responseCallback = http.expectedStatuses(400, 422);
      return request;
    });
    must(`refused: ${JSON.stringify(body)}`, refused.every(([, answer]) => [400, 422].includes(answer.status)));
  }
  const nobody = extratos(6, 'validation');
  nobody.params.responseCallback = http.expectedStatuses(404);
  must('client 6 does not exist', batch([nobody])[0].status === 404);
}

export function setup() {
  twentyFiveAtOnce('d', -25);
  twentyFiveAtOnce('c', 0);
  fiveClients();
}

// ---- F: the load --------------------------------------------------------------------------------------------------

const LETTERS = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789';
const upTo = (most) => 1 + Math.floor(Math.random() * most);
const descricao = () => Array.from({ length: 10 }, () => LETTERS[upTo(LETTERS.length) - 1]).join('');

function one({ method, url, body, params }, statuses) {
  const answer = http.request(method, url, body || null, params);
  const ok = check(answer, { 'the status is one of the expected': ({ status }) => statuses.includes(status) });
  good.add(ok && answer.timings.duration < USD.withinMs);
  return answer;
}

// A saldo below -limite is impossible, so an answer that shows one is an inconsistency.
function consistent(saldo, limite) {
  const holds = check(null, { 'saldo >= -limite': () => saldo >= -limite });
  inconsistent.add(holds ? 0 : 1);
}

function move(tipo, statuses) {
  const body = { valor: upTo(10000), tipo, descricao: descricao() };
  const kind = tipo === 'd' ? 'debito' : 'credito';
  const answer = one(transacoes(upTo(5), body, kind), statuses);
  if (answer.status === 200) {
    const { saldo, limite } = json(answer);
    consistent(saldo, limite);
  }
}

export const debito = () => move('d', [200, 422]);
export const credito = () => move('c', [200]);

export function extrato() {
  const answer = one(extratos(upTo(5), 'extrato'), [200]);
  if (answer.status === 200) {
    const { saldo } = json(answer);
    consistent(saldo.total, saldo.limite);
  }
}

// ---- the contest's score ------------------------------------------------------------------------------------------

export function handleSummary({ metrics }) {
  const value = (metric, name, none) => (metrics[metric] ? metrics[metric].values[name] : none);
  const percent = 100 * value('answered_ok_within_250ms', 'rate', 0);
  const wrong = value('inconsistent_saldo', 'count', 0);
  const late = Math.max(0, USD.percentWanted - percent) * USD.perPercentMissing;
  const fine = wrong * USD.perInconsistency;
  // Without any answer to the load, the score is 0.
  const usd = metrics.answered_ok_within_250ms ? Math.max(0, USD.contract - late - fine) : 0;
  const ms = (kind) => {
    const metric = kind ? `http_req_duration{kind:${kind}}` : 'http_req_duration';
    return ['avg', 'med', 'p(75)', 'p(95)', 'p(99)', 'max'].map((name) => value(metric, name, NaN).toFixed(2).padStart(8));
  };
  const lines = [
    '',
    `  requests ${value('http_reqs', 'count', 0)}, failed ${value('http_req_failed', 'passes', 0)}, `
      + `not sent in time ${value('dropped_iterations', 'count', 0)}`,
    `  answered OK within ${USD.withinMs} ms ${percent.toFixed(3)} %, inconsistent ${wrong}`,
    '',
    `  ms          ${['mean', 'p50', 'p75', 'p95', 'p99', 'max'].map((name) => name.padStart(8)).join('')}`,
    ...['debito', 'credito', 'extrato'].map((kind) => `  ${kind.padEnd(12)}${ms(kind).join('')}`),
    `  ${'all'.padEnd(12)}${ms(null).join('')}`,
    '',
    `  score  USD ${usd.toFixed(2)}`,
    '',
  ];
  for (const [name, { thresholds }] of Object.entries(metrics)) {
    for (const [rule, { ok }] of Object.entries(thresholds || {})) {
      if (!ok) {
        lines.push(`  MISSED  ${name}: ${rule}`, '');
      }
    }
  }
  const summary = { usd, percent, inconsistent: wrong, metrics };
  const files = __ENV.SUMMARY ? { [__ENV.SUMMARY]: JSON.stringify(summary, null, 2) } : {};
  return Object.assign({ stdout: lines.join('\n') }, files);
}
