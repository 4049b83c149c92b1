// What the flows share: profiles, a constant rate of arrivals (open loop: a slow server meets more people at
// once, not fewer), the thresholds that always hold, and the operator who prepares.
import { fail } from 'k6';
import * as onrush from './onrush.js';
import { users } from './users.js';

// The profile that PROFILE names, smoke when it names none; RATE and SECONDS override what it says.
export function chosen(profiles) {
  const name = __ENV.PROFILE || 'smoke';
  const profile = profiles[name];
  if (!profile) throw new Error(`PROFILE is ${name}, and not one of ${Object.keys(profiles).join(', ')}`);
  const or = (setting, otherwise) => Number(__ENV[setting] || otherwise);
  return { ...profile, name, rate: or('RATE', profile.rate), seconds: or('SECONDS', profile.seconds) };
}

// A scenario. `limits` are its virtual users, how long the last ones may take, and what else differs.
export const arrivals = ({ rate, seconds }, limits) => ({
  executor: 'constant-arrival-rate',
  rate,
  timeUnit: '1s',
  duration: `${seconds}s`,
  ...limits,
});

// How many arrive at most. k6 may begin one more at the very end of its time.
export const arrivalsMax = ({ rate, seconds }) => Math.floor(rate * seconds) + 1;

// The options of a flow. `needs` says how many users it takes, and with how many points: `k6 inspect` prints
// it, so that scripts/load.sh need not know what each flow wants. `thresholds` are beside those that hold for
// every flow, or in their place.
export const options = (scenarios, needs, thresholds = {}) => ({
  scenarios,
  ext: needs,
  thresholds: {
    checks: ['rate==1'],
    http_req_failed: ['rate==0'],
    dropped_iterations: ['count==0'],
    ...thresholds,
  },
  summaryTrendStats: ['avg', 'med', 'p(95)', 'p(99)', 'max'],
  // Each tag costs k6 time at every request; these are the ones that thresholds and the report name.
  systemTags: ['scenario', 'group', 'check', 'name', 'status', 'expected_response'],
});

// Thresholds that always hold: k6 tells the figures of a part of the requests only where it has one.
export const ALWAYS = 'max>=0';
export const figuresOf = (metrics) => Object.fromEntries(metrics.map((metric) => [metric, [ALWAYS]]));

// Thresholds of time. A smoke run asserts none, since machines that run it have others to serve.
export const timed = ({ name }, thresholds) =>
  name === 'smoke' ? figuresOf(Object.keys(thresholds)) : thresholds;

// Refuses to start with fewer users than the flow needs.
export function enoughUsers({ users: needed }) {
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

// Menus to order from: their ids.
export function makeMenus(bearer, count) {
  const stamp = new Date().toISOString();
  return Array.from({ length: count }, (_, at) => {
    const made = onrush.createMenu(bearer, { name: `Load ${at} ${stamp}`, price: 10 + at });
    return prepared(made, 201, 'the menu is made').menuId;
  });
}

const DAY_MS = 24 * 3600 * 1000;

// A time so many days from now.
export const daysAhead = (days) => new Date(Date.now() + days * DAY_MS).toISOString();

// The day of a concert's first show, its second …
export const dayOf = (show) => daysAhead(show + 2).slice(0, 10);

// A concert whose shows, on one day each, have the seats together: its id.
export function makeConcert(bearer, concert, { price, seats, seatsAShow }) {
  const made = onrush.createConcert(bearer, { title: `Load ${new Date().toISOString()}`, ...concert });
  const { concertId } = prepared(made, 201, 'the concert is made');
  for (let show = 0; show * seatsAShow < seats; show += 1) {
    const seatCount = Math.min(seatsAShow, seats - show * seatsAShow);
    const added = onrush.addShow(bearer, concertId, { date: dayOf(show), price, seatCount });
    prepared(added, 201, 'the show is made');
  }
  return concertId;
}

export const oneOf = (list) => list[Math.floor(Math.random() * list.length)];
