// A client of Onrush for k6: one function a request, each with a name of its own for thresholds, so that
// URLs with ids in them do not become metrics of their own.
import { check } from 'k6';
import http from 'k6/http';
import { uuidv4 } from './uuid.js';

// By names of this file: k6 looks what is imported up by its name each time that it is used.
const { get, post, request: ask } = http;

// One instance, or several of the same deployment.
const BASES = (__ENV.ONRUSH_URLS || __ENV.ONRUSH_URL || 'http://127.0.0.1:8080').split(',');

// Refusals are answers too: only what a client cannot act on counts as a failure.
http.setResponseCallback(http.expectedStatuses({ min: 200, max: 299 }, 409, 410, 429));

// Requests go to the instances in turn, one of a user's after the other: what one instance did must hold in
// the next.
let turn = __VU;
function base() {
  turn += 1;
  return BASES[turn % BASES.length];
}

// What all requests of a name have in common, made once for each virtual user: a request changes the headers
// and leaves the rest. All parameters anew for each, handed on as lists, took k6 more time than its HTTP.
// `blind` throws the body of the answers away, unread.
function call(name, method, { blind } = {}) {
  const headers = {};
  return { method, headers, params: { headers, tags: { name }, responseType: blind ? 'none' : 'text' } };
}

function fill(headers, bearer, ticket) {
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  if (ticket) headers['Queue-Token'] = ticket;
}

// Sends a request. A call has the same headers each time: what is null once is null always.
function send({ method, headers, params }, path, bearer, ticket, body, key) {
  fill(headers, bearer, ticket);
  // Each argument takes k6 a hundredth of a request.
  if (method === 'GET') return get(base() + path, params);
  if (key) headers['Idempotency-Key'] = key;
  if (body) headers['Content-Type'] = 'application/json';
  const text = body ? JSON.stringify(body) : null;
  return method === 'POST' ? post(base() + path, text, params) : ask(method, base() + path, text, params);
}

// A request as `http.batch` takes it, which sends it later.
function request({ method, params }, path, bearer, ticket) {
  const headers = {};
  fill(headers, bearer, ticket);
  return [method, base() + path, null, { ...params, headers }];
}

const BATCH_MAX = 100;

// Sends many requests, a hundred at a time: the answers in the same order.
function sendAll(requests) {
  const answers = [];
  for (let at = 0; at < requests.length; at += BATCH_MAX) {
    answers.push(...http.batch(requests.slice(at, at + BATCH_MAX)));
  }
  return answers;
}

// The answer's body (null when it has none) when the status is the expected one, else null; the check
// remembers which it was.
export function expect(response, status, what) {
  const right = check(response, { [what]: (r) => r.status === status });
  return right && response.body ? response.json() : null;
}

// What was refused, and why: the word of the problem, or null.
export const codeOf = (response) => (response.status >= 400 && response.body ? response.json('code') : null);

const LOGIN = call('login', 'POST');
export const login = (email, password) => send(LOGIN, '/v1/auth/login', null, null, { email, password });

const CONCERT = call('concert', 'POST');
export const createConcert = (bearer, body) => send(CONCERT, '/v1/concerts', bearer, null, body);
const SHOW = call('show', 'POST');
export const addShow = (bearer, concert, body) =>
  send(SHOW, `/v1/concerts/${concert}/shows`, bearer, null, body);

const QUEUE = call('queue', 'POST');
export const createQueue = (bearer, body) => send(QUEUE, '/v1/queues', bearer, null, body);
const QUEUE_READ = call('queue_read', 'GET');
export const queue = (id) => send(QUEUE_READ, `/v1/queues/${id}`);

const JOIN = call('join', 'POST');
const tickets = (queueId) => `/v1/queues/${queueId}/tickets`;
export const join = (bearer, queueId) => send(JOIN, tickets(queueId), bearer);
export const joinAll = (bearers, queueId) =>
  sendAll(bearers.map((bearer) => request(JOIN, tickets(queueId), bearer)));

const POLL = call('poll', 'GET');
const POLL_BLIND = call('poll', 'GET', { blind: true });
const mine = (queueId) => `/v1/queues/${queueId}/tickets/me`;
export const poll = (ticket, queueId) => send(POLL, mine(queueId), null, ticket);
export const pollBlind = (ticket, queueId) => send(POLL_BLIND, mine(queueId), null, ticket);
export const pollAll = (all, queueId) =>
  sendAll(all.map((ticket) => request(POLL, mine(queueId), null, ticket)));
const LEAVE = call('leave', 'DELETE');
export const leave = (ticket, queueId) => send(LEAVE, mine(queueId), null, ticket);

const DATES = call('dates', 'GET');
export const dates = (bearer, ticket, concert) =>
  send(DATES, `/v1/concerts/${concert}/dates`, bearer, ticket);
const SEATS = call('seats', 'GET');
export const seats = (bearer, ticket, concert, date) =>
  send(SEATS, `/v1/concerts/${concert}/seats?date=${date}`, bearer, ticket);
const RESERVE = call('reserve', 'POST');
export const reserve = (bearer, ticket, body) =>
  send(RESERVE, '/v1/reservations', bearer, ticket, body, uuidv4());
const PAY = call('pay', 'POST');
export const pay = (bearer, ticket, reservationId) =>
  send(PAY, '/v1/payments', bearer, ticket, { reservationId }, uuidv4());

const CHARGE = call('charge', 'POST');
export const charge = (bearer, userId, amount) =>
  send(CHARGE, `/v1/users/${userId}/points/charge`, bearer, null, { amount }, uuidv4());
const POINTS = call('points', 'GET');
export const points = (bearer, userId) => send(POINTS, `/v1/users/${userId}/points`, bearer);

const MENU = call('menu', 'POST');
export const createMenu = (bearer, body) => send(MENU, '/v1/menus', bearer, null, body);
const ORDER = call('order', 'POST');
export const order = (bearer, body, key) => send(ORDER, '/v1/orders', bearer, null, body, key);
const ORDERS = call('orders', 'GET');
export const orders = (bearer) => send(ORDERS, '/v1/orders?limit=5', bearer);
const POPULAR = call('popular', 'GET');
export const popular = () => send(POPULAR, '/v1/menus/popular');

const CAMPAIGN = call('campaign', 'POST');
export const createCampaign = (bearer, body) => send(CAMPAIGN, '/v1/coupon-campaigns', bearer, null, body);
const CAMPAIGN_READ = call('campaign_read', 'GET');
export const campaign = (id) => send(CAMPAIGN_READ, `/v1/coupon-campaigns/${id}`);
const CLAIM = call('claim', 'POST');
export const claim = (bearer, id) =>
  send(CLAIM, `/v1/coupon-campaigns/${id}/claims`, bearer, null, null, uuidv4());
const COUPON = call('coupon', 'GET');
export const coupon = (bearer, code) => send(COUPON, `/v1/coupons/${code}`, bearer);
const USE = call('use', 'PUT');
export const useCoupon = (bearer, code) => send(USE, `/v1/coupons/${code}/use`, bearer);

const REWARD = call('reward', 'POST');
export const createReward = (bearer, body) => send(REWARD, '/v1/rewards', bearer, null, body);
const REWARD_READ = call('reward_read', 'GET');
export const reward = (bearer, id) => send(REWARD_READ, `/v1/rewards/${id}`, bearer);
const EVENT = call('event', 'POST');
export const createEvent = (bearer, body) => send(EVENT, '/v1/events', bearer, null, body);
const ASK = call('ask', 'POST');
export const askReward = (bearer, eventId, rewardId) =>
  send(ASK, '/v1/reward-requests', bearer, null, { eventId, rewardId }, uuidv4());
const REQUESTS = call('requests', 'GET');
export const requests = (bearer, event) =>
  send(REQUESTS, `/v1/reward-requests?eventId=${event}&limit=1`, bearer);

const LIVE = call('livez', 'GET', { blind: true });
export const live = () => send(LIVE, '/livez');
