// A spike: a crowd claims the coupons of one campaign within seconds (open loop), many more people than
// coupons. Each claims once, with a key of its own, and is told a coupon or that they are sold out. Every
// second winner then looks at the coupon and uses it. Exactly as many win as there are coupons.
//
//   USERS         a file of `onrush load-users --count N` (one user a claim)
//   ONRUSH_URL    the server            OPERATOR_EMAIL, OPERATOR_PASSWORD   who makes the campaign
//   PROFILE       smoke (default), load, stress         RATE, SECONDS, QUANTITY   override the profile's
import { check } from 'k6';
import exec from 'k6/execution';
import { Counter } from 'k6/metrics';
import { arrivals, arrivalsMax, chosen, daysAhead, enoughUsers } from './lib/load.js';
import { options as flow, prepared, signInOperator, timed } from './lib/load.js';
import * as onrush from './lib/onrush.js';
import { summary } from './lib/report.js';
import { users } from './lib/users.js';

// Not 2 000 a second before stress: from two cores that a server and a compiler share, with durable charges
// and joins in place of claims, k6 dropped some of those in 8 of 20 runs, and at 1 000 a second in none of 5.
const profile = chosen({
  smoke: { rate: 500, seconds: 4, quantity: 100 },
  load: { rate: 1000, seconds: 20, quantity: 1000 },
  stress: { rate: 2000, seconds: 20, quantity: 5000 },
});
const QUANTITY = Number(__ENV.QUANTITY || profile.quantity);

const claimed = new Counter('claimed');
const soldOut = new Counter('sold_out');
const used = new Counter('used');

const needs = { users: arrivalsMax(profile), points: 0 };
// Enough for claims that take a second, all made before the spike: making them costs it time.
const limits = { preAllocatedVUs: profile.rate, maxVUs: profile.rate * 4, gracefulStop: '10s' };

export const options = flow({ coupon_rush: arrivals(profile, limits) }, needs, {
  claimed: [`count==${QUANTITY}`],
  ...timed(profile, {
    'http_req_duration{name:claim}': ['p(95)<1000'],
    // The winners on their own: nineteen of twenty are refused, which costs no commit.
    'http_req_duration{name:claim,status:201}': ['p(95)<1000'],
    'http_req_duration{name:coupon}': ['p(95)<500'],
    'http_req_duration{name:use}': ['p(95)<1000'],
  }),
});

export const handleSummary = summary('coupon_rush', profile);

export function setup() {
  enoughUsers(needs);
  const made = onrush.createCampaign(signInOperator(), {
    name: `Load ${new Date().toISOString()}`,
    quantity: QUANTITY,
    expiresAt: daysAhead(30),
    perUser: 1,
  });
  return { campaign: prepared(made, 201, 'the campaign is made').campaignId };
}

// The coupon of who wins, or null.
function claim(bearer, campaign) {
  const answer = onrush.claim(bearer, campaign);
  if (answer.status === 410) {
    soldOut.add(1);
    check(answer, { 'sold out': (refused) => onrush.codeOf(refused) === 'coupon_sold_out' });
    return null;
  }
  const won = onrush.expect(answer, 201, 'claimed');
  if (!won) return null;
  claimed.add(1);
  check(won, {
    'it is assigned': (told) => told.status === 'ASSIGNED' && told.code.length > 0,
    'its number is one of the quantity': (told) => told.number >= 1 && told.number <= QUANTITY,
    'its rank is told': (told) => told.rank >= 1,
    'it leaves the others': (told) => told.remaining === QUANTITY - told.number,
  });
  return won;
}

export default function couponRush({ campaign }) {
  const { accessToken, userId } = users[exec.scenario.iterationInTest];
  const won = claim(accessToken, campaign);
  if (!won || won.number % 2 === 0) return;
  const seen = onrush.expect(onrush.coupon(accessToken, won.code), 200, 'saw the coupon');
  check(seen, {
    'it names its owner': (told) => told && told.userId === userId,
    'it waits for its use': (told) => told && told.status === 'ASSIGNED',
  });
  const spent = onrush.expect(onrush.useCoupon(accessToken, won.code), 200, 'used the coupon');
  if (check(spent, { 'it is used': (told) => told && told.status === 'USED' })) used.add(1);
}

export function teardown({ campaign }) {
  const told = onrush.expect(onrush.campaign(campaign), 200, 'the campaign at the end');
  check(told, {
    'every coupon is claimed': (left) => left && left.claimed === QUANTITY,
    'none remains': (left) => left && left.remaining === 0,
  });
}
