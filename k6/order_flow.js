// Orders at a constant rate (open loop), as people order: one to three things of a menu, each order with a
// key of its own; one in ten sends its request twice, as a client does that lost the answer; one in ten looks
// at the ranking, one in twenty at its last orders. Whether the ranking is right `onrush verify` says.
//
//   USERS         a file of `onrush load-users --points …` (they order in turn)
//   ONRUSH_URL    the server            OPERATOR_EMAIL, OPERATOR_PASSWORD   who makes the menu
//   PROFILE       smoke (default), load, stress         RATE, SECONDS       override the profile's
import { check, sleep } from 'k6';
import exec from 'k6/execution';
import { Counter } from 'k6/metrics';
import { arrivals, chosen, enoughUsers, makeMenus } from './lib/load.js';
import { options as flow, signInOperator, timed } from './lib/load.js';
import * as onrush from './lib/onrush.js';
import { summary } from './lib/report.js';
import { users } from './lib/users.js';
import { uuidv4 } from './lib/uuid.js';

const profile = chosen({
  smoke: { rate: 50, seconds: 6 },
  load: { rate: 500, seconds: 60 },
  stress: { rate: 1500, seconds: 60 },
});
const MENUS = 8;

const orders = new Counter('orders');

// They order in turn.
const needs = { users: 300, points: 1_000_000 };
const limits = { preAllocatedVUs: Math.max(100, profile.rate / 2), maxVUs: 1000, gracefulStop: '10s' };

export const options = flow({ order_flow: arrivals(profile, limits) }, needs, {
  ...timed(profile, {
    'http_req_duration{name:order}': ['p(95)<1000'],
    'http_req_duration{name:popular}': ['p(95)<200'],
    'http_req_duration{name:orders}': ['p(95)<500'],
  }),
});

export const handleSummary = summary('order_flow', profile);

export function setup() {
  enoughUsers(needs);
  return { menus: makeMenus(signInOperator(), MENUS) };
}

// Different menus, the first ones more often.
function choice(menus) {
  const count = 1 + Math.floor(Math.random() * 3);
  const chosen = new Set();
  while (chosen.size < count) chosen.add(menus[Math.floor(Math.random() ** 2 * menus.length)]);
  return [...chosen].map((menuId) => ({ menuId, quantity: 1 + Math.floor(Math.random() * 3) }));
}

export default function orderFlow({ menus }) {
  const at = exec.scenario.iterationInTest;
  const { accessToken } = users[at % users.length];
  const body = { items: choice(menus) };
  const key = uuidv4();
  const placed = onrush.expect(onrush.order(accessToken, body, key), 201, 'ordered');
  if (!placed) return;
  orders.add(1);
  if (at % 10 === 0) {
    const again = onrush.expect(onrush.order(accessToken, body, key), 201, 'told again');
    check(again, { 'the same order': (told) => told && told.orderId === placed.orderId });
  }
  if (at % 10 === 5) onrush.expect(onrush.popular(), 200, 'saw the ranking');
  if (at % 20 === 7) onrush.expect(onrush.orders(accessToken), 200, 'saw orders');
}

export function teardown({ menus }) {
  sleep(1.5);
  const told = onrush.expect(onrush.popular(), 200, 'the ranking at the end');
  check(told, {
    'three are told': (popular) => popular.items.length === 3,
    'each menu costs what it did': (popular) =>
      popular.items.filter((item) => menus.includes(item.menuId)).every((item) => item.price >= 10),
  });
}
