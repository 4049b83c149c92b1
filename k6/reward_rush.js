// An event opens: a crowd asks for its reward within seconds (open loop), many more people than the reward's
// stock. Each asks once, with a key of its own, and is granted it or told that none is left. Every second
// winner asks again, which is refused, and looks at his points. Exactly as many are granted as there are.
//
//   USERS         a file of `onrush load-users --count N` (one user a request)
//   ONRUSH_URL    the server            OPERATOR_EMAIL, OPERATOR_PASSWORD   who makes the event
//   PROFILE       smoke (default), load, stress         RATE, SECONDS, STOCK   override the profile's
import { check } from 'k6';
import exec from 'k6/execution';
import { Counter } from 'k6/metrics';
import { arrivals, arrivalsMax, chosen, daysAhead, enoughUsers } from './lib/load.js';
import { options as flow, prepared, signInOperator, timed } from './lib/load.js';
import * as onrush from './lib/onrush.js';
import { summary } from './lib/report.js';
import { users } from './lib/users.js';

const profile = chosen({
  smoke: { rate: 200, seconds: 4, stock: 100 },
  load: { rate: 500, seconds: 20, stock: 1000 },
  stress: { rate: 1000, seconds: 20, stock: 2000 },
});
const STOCK = Number(__ENV.STOCK || profile.stock);
const AMOUNT = 10;

const granted = new Counter('granted');
const outOfStock = new Counter('out_of_stock');

const needs = { users: arrivalsMax(profile), points: 0 };
// Enough for requests that take a second, all made before the spike: making them costs it time.
const limits = { preAllocatedVUs: profile.rate, maxVUs: profile.rate * 4, gracefulStop: '10s' };

export const options = flow({ reward_rush: arrivals(profile, limits) }, needs, {
  granted: [`count==${STOCK}`],
  ...timed(profile, {
    'http_req_duration{name:ask}': ['p(95)<1000'],
    // The winners on their own: each waits for three commits, the others for none.
    'http_req_duration{name:ask,status:201}': ['p(95)<2000'],
  }),
});

export const handleSummary = summary('reward_rush', profile);

export function setup() {
  enoughUsers(needs);
  const operator = signInOperator();
  const made = onrush.createReward(operator, {
    name: `Load ${new Date().toISOString()}`,
    type: 'POINTS',
    amount: AMOUNT,
    stock: STOCK,
  });
  const reward = prepared(made, 201, 'the reward is made').rewardId;
  const event = onrush.createEvent(operator, {
    name: 'Load',
    startsAt: daysAhead(-30),
    endsAt: daysAhead(30),
    active: true,
    rewardIds: [reward],
    condition: { type: 'NONE' },
    approval: 'AUTO',
    recurrence: 'ONCE',
  });
  return { operator, reward, event: prepared(event, 201, 'the event is made').eventId };
}

export default function rewardRush({ event, reward }) {
  const at = exec.scenario.iterationInTest;
  const { accessToken, userId } = users[at];
  const answer = onrush.askReward(accessToken, event, reward);
  if (answer.status === 410) {
    outOfStock.add(1);
    check(answer, { 'out of stock': (refused) => onrush.codeOf(refused) === 'reward_out_of_stock' });
    return;
  }
  const won = onrush.expect(answer, 201, 'granted');
  if (!won) return;
  granted.add(1);
  check(won, { 'it is there': (told) => told.status === 'GRANTED' && told.userId === userId });
  if (at % 2 === 0) return;
  const again = onrush.askReward(accessToken, event, reward);
  check(again, { 'once is once': (refused) => onrush.codeOf(refused) === 'reward_already_requested' });
  const has = onrush.expect(onrush.points(accessToken, userId), 200, 'saw the points');
  check(has, { 'they are there': (told) => told && told.balance >= AMOUNT });
}

export function teardown({ operator, event, reward }) {
  const left = onrush.expect(onrush.reward(operator, reward), 200, 'the reward at the end');
  check(left, { 'none remains': (told) => told && told.remaining === 0 });
  const list = onrush.expect(onrush.requests(operator, event), 200, 'the requests at the end');
  check(list, {
    'every one is granted': (told) => told && told.counts.GRANTED === STOCK && told.counts.PENDING === 0,
  });
}
