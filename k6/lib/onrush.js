// A client of Onrush for k6: one function a request, each with a name of its own for thresholds, so that
// URLs with ids in them do not become metrics of their own.
import { check } from 'k6';
import http from 'k6/http';
import { uuidv4 } from './uuid.js';

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

// A request as `http.batch` takes it. `blind` throws the body of its answer away, unread.
function request(name, method, path, { bearer, ticket, key, body, blind } = {}) {
  const headers = {};
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  if (ticket) headers['Queue-Token'] = ticket;
  if (key) headers['Idempotency-Key'] = key;
  if (body) headers['Content-Type'] = 'application/json';
  const params = { headers, tags: { name }, responseType: blind ? 'none' : 'text' };
  return [method, base() + path, body ? JSON.stringify(body) : null, params];
}

const send = (...what) => http.request(...request(...what));

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

export const login = (email, password) =>
  send('login', 'POST', '/v1/auth/login', { body: { email, password } });
export const createConcert = (bearer, body) => send('concert', 'POST', '/v1/concerts', { bearer, body });
export const addShow = (bearer, concert, body) =>
  send('show', 'POST', `/v1/concerts/${concert}/shows`, { bearer, body });

export const createQueue = (bearer, body) => send('queue', 'POST', '/v1/queues', { bearer, body });
export const queue = (id) => send('queue_read', 'GET', `/v1/queues/${id}`);
const joining = (bearer, queueId) => ['join', 'POST', `/v1/queues/${queueId}/tickets`, { bearer }];
const polling = (ticket, queueId, blind) => [
  'poll',
  'GET',
  `/v1/queues/${queueId}/tickets/me`,
  { ticket, blind },
];
export const join = (bearer, queueId) => send(...joining(bearer, queueId));
export const joinAll = (bearers, queueId) =>
  sendAll(bearers.map((bearer) => request(...joining(bearer, queueId))));
export const poll = (ticket, queueId) => send(...polling(ticket, queueId, false));
export const pollBlind = (ticket, queueId) => send(...polling(ticket, queueId, true));
export const pollAll = (tickets, queueId) =>
  sendAll(tickets.map((ticket) => request(...polling(ticket, queueId, false))));
export const leave = (ticket, queue) => send('leave', 'DELETE', `/v1/queues/${queue}/tickets/me`, { ticket });

export const dates = (bearer, ticket, concert) =>
  send('dates', 'GET', `/v1/concerts/${concert}/dates`, { bearer, ticket });
export const seats = (bearer, ticket, concert, date) =>
  send('seats', 'GET', `/v1/concerts/${concert}/seats?date=${date}`, { bearer, ticket });
export const reserve = (bearer, ticket, body) =>
  send('reserve', 'POST', '/v1/reservations', { bearer, ticket, body, key: uuidv4() });
export const pay = (bearer, ticket, reservationId) =>
  send('pay', 'POST', '/v1/payments', { bearer, ticket, body: { reservationId }, key: uuidv4() });
export const charge = (bearer, userId, amount) =>
  send('charge', 'POST', `/v1/users/${userId}/points/charge`, { bearer, body: { amount }, key: uuidv4() });
export const createMenu = (bearer, body) => send('menu', 'POST', '/v1/menus', { bearer, body });
export const order = (bearer, body, key) => send('order', 'POST', '/v1/orders', { bearer, body, key });
export const orders = (bearer) => send('orders', 'GET', '/v1/orders?limit=5', { bearer });
export const popular = () => send('popular', 'GET', '/v1/menus/popular');
export const createCampaign = (bearer, body) =>
  send('campaign', 'POST', '/v1/coupon-campaigns', { bearer, body });
export const campaign = (id) => send('campaign_read', 'GET', `/v1/coupon-campaigns/${id}`);
export const claim = (bearer, id) =>
  send('claim', 'POST', `/v1/coupon-campaigns/${id}/claims`, { bearer, key: uuidv4() });
export const coupon = (bearer, code) => send('coupon', 'GET', `/v1/coupons/${code}`, { bearer });
export const useCoupon = (bearer, code) => send('use', 'PUT', `/v1/coupons/${code}/use`, { bearer });
export const createReward = (bearer, body) => send('reward', 'POST', '/v1/rewards', { bearer, body });
export const reward = (bearer, id) => send('reward_read', 'GET', `/v1/rewards/${id}`, { bearer });
export const createEvent = (bearer, body) => send('event', 'POST', '/v1/events', { bearer, body });
export const askReward = (bearer, eventId, rewardId) =>
  send('ask', 'POST', '/v1/reward-requests', { bearer, body: { eventId, rewardId }, key: uuidv4() });
export const requests = (bearer, event) =>
  send('requests', 'GET', `/v1/reward-requests?eventId=${event}&limit=1`, { bearer });
export const points = (bearer, userId) => send('points', 'GET', `/v1/users/${userId}/points`, { bearer });
export const live = () => send('livez', 'GET', '/livez', { blind: true });
