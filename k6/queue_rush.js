// Everybody at once before one door: people join a queue faster than it lets them in (open loop), poll as
// often as they are told until they are in, and leave. All get in, none loses his number, and the queue is
// empty in the end.
//
//   USERS         a file of `onrush load-users --count N` (one user an arrival)
//   ONRUSH_URL    the server            OPERATOR_EMAIL, OPERATOR_PASSWORD   who makes the queue
//   PROFILE       smoke (default), load, stress         RATE, SECONDS       override the profile's
import { check, sleep } from 'k6';
import exec from 'k6/execution';
import { Rate, Trend } from 'k6/metrics';
import { arrivals, arrivalsMax, chosen, enoughUsers, options as flow } from './lib/load.js';
import { prepared, signInOperator, timed } from './lib/load.js';
import * as onrush from './lib/onrush.js';
import { enter } from './lib/queue.js';
import { summary } from './lib/report.js';
import { users } from './lib/users.js';

const profile = chosen({
  smoke: { rate: 60, seconds: 5 },
  load: { rate: 100, seconds: 60 },
  stress: { rate: 300, seconds: 60 },
});
// Slower than they come, so that a line forms: a fifth of them waits when the last one comes.
const ADMIT = Math.max(1, Math.floor(profile.rate * 0.8));
const WAITING_MAX = Math.ceil((profile.rate - ADMIT) * profile.seconds);
const ACTIVE_SECONDS = 60;

const entered = new Rate('entered');
const untilIn = new Trend('until_in', true);

const needs = { users: arrivalsMax(profile), points: 0 };
// Who waits is a virtual user that sleeps, up to 15 s between two polls, and leaves some time after he was
// let in.
const VUS = WAITING_MAX + profile.rate * 5;
const limits = {
  preAllocatedVUs: VUS,
  maxVUs: VUS + profile.rate * 15,
  gracefulStop: `${Math.ceil(WAITING_MAX / ADMIT) + 60}s`,
};

export const options = flow({ queue_rush: arrivals(profile, limits) }, needs, {
  entered: ['rate==1'],
  ...timed(profile, {
    'http_req_duration{name:join}': ['p(95)<1000'],
    'http_req_duration{name:poll}': ['p(95)<1000'],
    'http_req_duration{name:leave}': ['p(95)<1000'],
  }),
});

export const handleSummary = summary('queue_rush', profile);

export function setup() {
  enoughUsers(needs);
  const made = onrush.createQueue(signInOperator(), {
    name: `Load ${new Date().toISOString()}`,
    admitPerSecond: ADMIT,
    maxActive: profile.rate * ACTIVE_SECONDS,
    activeSeconds: ACTIVE_SECONDS,
  });
  return { queue: prepared(made, 201, 'the queue is made').queueId };
}

export default function queueRush({ queue }) {
  const at = exec.scenario.iterationInTest;
  const began = Date.now();
  const ticket = enter(users[at].accessToken, queue);
  entered.add(Boolean(ticket));
  if (!ticket) return;
  untilIn.add(Date.now() - began);
  onrush.expect(onrush.leave(ticket, queue), 204, 'left');
  if (at % 10 !== 0) return;
  const gone = onrush.poll(ticket, queue);
  check(gone, { 'who left is gone': (told) => onrush.codeOf(told) === 'queue_ticket_gone' });
}

export function teardown({ queue }) {
  // What left is written down at the queue's next tick.
  sleep(1.5);
  const told = onrush.expect(onrush.queue(queue), 200, 'the queue at the end');
  check(told, { 'nobody is left': (left) => left && left.waiting === 0 && left.active === 0 });
}
