// What k6 and the machine cost by themselves: `GET /livez` in the shape of `mixed.js`, as many requests a
// second, ten an iteration. It runs right before, since what else the machine does changes by the minute.
//
//   ONRUSH_URL    the server
//   PROFILE       smoke (default), load, stress         RATE, SECONDS       override the profile's
import { check } from 'k6';
import { chosen, figuresOf, options as flow } from './lib/load.js';
import { fewDropped, tens, tenTimes } from './lib/mix.js';
import * as onrush from './lib/onrush.js';
import { summary } from './lib/report.js';

const profile = chosen({
  smoke: { rate: 500, seconds: 3 },
  load: { rate: 10_000, seconds: 15 },
  stress: { rate: 12_000, seconds: 15 },
});

export const options = flow({ floor: tens(profile) }, { users: 0, points: 0 }, {
  dropped_iterations: [fewDropped(profile)],
  ...figuresOf(['http_req_duration{scenario:floor}']),
});

export const handleSummary = summary('floor', profile);

export default function floor() {
  tenTimes(onrush.live, (answer) => check(answer, { 'it is alive': ({ status }) => status === 200 }));
}
