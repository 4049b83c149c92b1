// A client of Onrush for k6: one function a request, each with a name of its own for thresholds, so that
// URLs with ids in them do not become metrics of their own.
import { check } from 'k6';
import http from 'k6/http';
import { uuidv4 } from './uuid.js';

const BASE = __ENV.ONRUSH_URL || 'http://127.0.0.1:8080';

// Refusals are answers too: only what a client cannot act on counts as a failure.
http.setResponseCallback(http.expectedStatuses({ min: 200, max: 299 }, 409, 410, 429));

function send(name, method, path, { bearer, ticket, key, body } = {}) {
  const headers = {};
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  if (ticket) headers['Queue-Token'] = ticket;
  if (key) headers['Idempotency-Key'] = key;
  if (body) headers['Content-Type'] = 'application/json';
  return http.request(method, BASE + path, body ? JSON.stringify(body) : null, { headers, tags: { name } });
}

// The answer's body when the status is the expected one, else null; the check remembers which it was.
export function expect(response, status, what) {
  const right = check(response, { [what]: (r) => r.status === status });
  return right ? response.json() : null;
}

export const login = (email, password) =>
  send('login', 'POST', '/v1/auth/login', { body: { email, password } });
export const createConcert = (bearer, body) => send('concert', 'POST', '/v1/concerts', { bearer, body });
export const addShow = (bearer, concert, body) =>
  send('show', 'POST', `/v1/concerts/${concert}/shows`, { bearer, body });

export const join = (bearer, queue) => send('join', 'POST', `/v1/queues/${queue}/tickets`, { bearer });
export const poll = (ticket, queue) => send('poll', 'GET', `/v1/queues/${queue}/tickets/me`, { ticket });
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
export const live = () => send('livez', 'GET', '/livez');
