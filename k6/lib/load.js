// What the loads share: profiles, a constant rate of arrivals (open loop: a slow server meets more people at
// once, not fewer), the thresholds that always hold, and the operator who prepares.
import { fail } from 'k6';
import * as onrush from './onrush.js';
import { users } from './users.js';

// The profile that PROFILE names, smoke when it names none; RATE and SECONDS override what it says.
export function chosen(profiles) {
  const profile = profiles[__ENV.PROFILE || 'smoke'];
  const { RATE, SECONDS } = __ENV;
  return { ...profile, rate: Number(RATE || profile.rate), seconds: Number(SECONDS || profile.seconds) };
}

// The options of one scenario. `limits` are its virtual users and how long the last ones may take.
export const openLoop = (name, { rate, seconds }, limits, thresholds = {}) => ({
  scenarios: {
    [name]: {
      executor: 'constant-arrival-rate',
      rate,
      timeUnit: '1s',
      duration: `${seconds}s`,
      ...limits,
    },
  },
  thresholds: {
    checks: ['rate==1'],
    http_req_failed: ['rate==0'],
    dropped_iterations: ['count==0'],
    ...thresholds,
  },
  summaryTrendStats: ['avg', 'med', 'p(95)', 'p(99)', 'max'],
});

// Refuses to start with fewer users than iterations. k6 may begin one more at the very end of its time.
export function oneUserEach({ rate, seconds }) {
  const needed = rate * seconds + 1;
  if (users.length < needed) fail(`${needed} users are needed, ${users.length} are there`);
}

// The answer's body when the status is the expected one: without what setup asks for there is no load.
export function prepared(response, status, what) {
  return onrush.expect(response, status, what) || fail(`${response.status} instead of ${status}: ${what}`);
}

// The operator's access token.
export function signInOperator() {
  const session = onrush.login(__ENV.OPERATOR_EMAIL, __ENV.OPERATOR_PASSWORD);
  return prepared(session, 200, 'the operator is signed in').accessToken;
}
