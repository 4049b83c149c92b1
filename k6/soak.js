// The flow of `mixed.js` at a rate that leaves room, for long: what leaks, fills up or slows down shows. RATE
// counts requests. scripts/load.sh looks at the server's memory meanwhile.
//
//   USERS         a file of `onrush load-users --points 1000000`
//   ONRUSH_URL    the server            OPERATOR_EMAIL, OPERATOR_PASSWORD   who makes queues and concerts
//   PROFILE       smoke (default), load, stress         RATE, SECONDS       override the profile's
import { chosen } from './lib/load.js';
import { mixOptions, mixSetup, mixTen } from './lib/mix.js';
import { summary } from './lib/report.js';

const profile = chosen({
  smoke: { rate: 200, seconds: 6 },
  load: { rate: 2000, seconds: 600 },
  stress: { rate: 3000, seconds: 1800 },
});

export const options = mixOptions('soak', profile, {
  'http_req_duration{scenario:soak,name:poll}': ['p(95)<100'],
  'http_req_duration{scenario:soak,name:charge}': ['p(95)<1000'],
});

export const handleSummary = summary('soak', profile);

export const setup = () => mixSetup(profile);

export default mixTen;
