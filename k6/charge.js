// Points charged at a constant rate (open loop), each with a key of its own; for figures.
//   USERS   a file of `onrush load-users`      ONRUSH_URL   the server      RATE, SECONDS
import exec from 'k6/execution';
import * as onrush from './lib/onrush.js';
import { users } from './lib/users.js';

const RATE = Number(__ENV.RATE || 1000);

export const options = {
  scenarios: {
    charge: {
      executor: 'constant-arrival-rate',
      rate: RATE,
      timeUnit: '1s',
      duration: `${__ENV.SECONDS || 10}s`,
      preAllocatedVUs: 200,
      maxVUs: 1000,
    },
  },
  thresholds: { checks: ['rate==1'], http_req_failed: ['rate==0'], dropped_iterations: ['count==0'] },
  summaryTrendStats: ['med', 'p(95)', 'p(99)', 'max'],
};

export default function charge() {
  const { userId, accessToken } = users[exec.scenario.iterationInTest % users.length];
  onrush.expect(onrush.charge(accessToken, userId, 100), 201, 'charged');
}
