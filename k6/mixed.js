// An on-sale as its server sees it: of the requests four fifths are polls, a tenth joins queues and holds
// seats, a tenth is durable writes (charges, orders, claims). RATE counts requests, not iterations. Its 95th
// percentile may be 5 ms above that of `floor.js` at the same rate: the rest is k6 and the machine.
//
//   USERS         a file of `onrush load-users --points 1000000`
//   ONRUSH_URL    the server            OPERATOR_EMAIL, OPERATOR_PASSWORD   who makes queues and concerts
//   PROFILE       smoke (default), load, stress         RATE, SECONDS       override the profile's
//   FLOOR_P95_MS  what `floor.js` took at this rate; without it no time is asserted
import { chosen } from './lib/load.js';
import { mixOptions, mixSetup, mixTen } from './lib/mix.js';
import { summary } from './lib/report.js';

const ABOVE_FLOOR_MS = 5;

const profile = chosen({
  smoke: { rate: 500, seconds: 6 },
  load: { rate: 10_000, seconds: 60 },
  stress: { rate: 12_000, seconds: 120 },
});

const { FLOOR_P95_MS } = __ENV;
const most = Number(FLOOR_P95_MS) + ABOVE_FLOOR_MS;

export const options = mixOptions(
  'mixed',
  profile,
  FLOOR_P95_MS ? { 'http_req_duration{scenario:mixed}': [`p(95)<=${most.toFixed(2)}`] } : {},
);

export const handleSummary = summary('mixed', profile);

export const setup = () => mixSetup(profile);

export default mixTen;
