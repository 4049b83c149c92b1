// Sign-ins at a rate that no bcrypt can follow, right and wrong ones in turn: what becomes of each is
// counted.
//
//   ONRUSH_URL    the server            EMAIL, PASSWORD    who signs in
//   RATE          sign-ins a second     SECONDS            for how long
import { Counter } from 'k6/metrics';
import { login } from './lib/onrush.js';

// Right or wrong, the password was looked at.
const hashed = new Counter('sign_ins_hashed');
const busy = new Counter('sign_ins_busy');
const limited = new Counter('sign_ins_limited');
const other = new Counter('sign_ins_other');

export const options = {
  scenarios: {
    flood: {
      executor: 'constant-arrival-rate',
      rate: Number(__ENV.RATE || 200),
      duration: `${__ENV.SECONDS || 10}s`,
      preAllocatedVUs: 100,
      maxVUs: 400,
    },
  },
};

export default function () {
  const right = __ITER % 2 === 0;
  const { status } = login(__ENV.EMAIL, right ? __ENV.PASSWORD : 'not the password');
  const count = { 200: hashed, 401: hashed, 503: busy, 429: limited }[status] || other;
  count.add(1);
}
