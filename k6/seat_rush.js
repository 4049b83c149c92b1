// The main job as a crowd does it: join the queue, poll until let in, look at dates and seats, hold a seat,
// pay. Purchases begin at a constant rate (open loop): a slow server meets more of them at once, not fewer.
// Of one concert everybody gets a seat (`purchase`). Another one has a quarter of the seats that are wanted,
// and all come at once and want the best (`scramble`): each seat is sold, and who gets none is told that all
// are gone.
//
//   USERS         a file of `onrush load-users --count N --points 1000000` (one user a purchase)
//   ONRUSH_URL    the server            OPERATOR_EMAIL, OPERATOR_PASSWORD   who makes the concerts
//   PROFILE       smoke (default), load, stress         RATE, SECONDS       override the profile's
import exec from 'k6/execution';
import { Counter, Rate, Trend } from 'k6/metrics';
import { arrivals, arrivalsMax, chosen, enoughUsers, makeConcert, oneOf } from './lib/load.js';
import { options as flow, signInOperator, timed } from './lib/load.js';
import * as onrush from './lib/onrush.js';
import { enter } from './lib/queue.js';
import { summary } from './lib/report.js';
import { users } from './lib/users.js';

const profile = chosen({
  smoke: { rate: 20, seconds: 8 },
  load: { rate: 100, seconds: 60 },
  stress: { rate: 200, seconds: 60 },
});
const few = { rate: profile.rate * 2, seconds: Math.ceil(profile.seconds / 4) };

const PRICE = 1000;
const SEATS_A_SHOW = 2000;
// More seats than buyers, so that each can have one however they choose.
const SEATS = Math.ceil(profile.rate * profile.seconds * 1.5);
const SEATS_FEW = Math.ceil((few.rate * few.seconds) / 4);
const SEAT_TRIES_MAX = 20;
const BEST = 3;
const SOLD_OUT = 'sold out';

const purchases = new Counter('purchases');
const bought = new Rate('bought');
const scrambled = new Counter('scrambled');
const soldOut = new Counter('sold_out');
const served = new Rate('served');
const seatTaken = new Counter('seat_taken');
const untilIn = new Trend('until_in', true);
const untilPaid = new Trend('until_paid', true);

const needs = { users: arrivalsMax(profile) + arrivalsMax(few), points: 1_000_000 };
// An iteration waits a second or two between its polls.
const limits = ({ rate }) => ({ preAllocatedVUs: rate * 5, maxVUs: rate * 15, gracefulStop: '30s' });

export const options = flow(
  {
    purchase: arrivals(profile, { ...limits(profile), exec: 'purchase' }),
    scramble: arrivals(few, { ...limits(few), exec: 'scramble' }),
  },
  needs,
  {
    bought: ['rate==1'],
    served: ['rate==1'],
    scrambled: [`count==${SEATS_FEW}`],
    ...timed(profile, {
      'http_req_duration{name:poll}': ['p(95)<1000'],
      'http_req_duration{name:reserve}': ['p(95)<3000'],
      'http_req_duration{name:pay}': ['p(95)<3000'],
    }),
  },
);

export const handleSummary = summary('seat_rush', profile);

export function setup() {
  enoughUsers(needs);
  const bearer = signInOperator();
  const queue = { admitPerSecond: profile.rate * 2, maxActive: profile.rate * 60, activeSeconds: 120 };
  const concert = { queue, maxSeatsPerUser: 1 };
  const shows = (seats) => ({ price: PRICE, seats, seatsAShow: SEATS_A_SHOW });
  return {
    wide: makeConcert(bearer, concert, shows(SEATS)),
    narrow: makeConcert(bearer, concert, shows(SEATS_FEW)),
  };
}

// Tries seats until one is free, any of the first `among`, and looks anew each time that another was faster:
// the hold, or that all are sold out, or null.
function hold(bearer, ticket, concertId, among) {
  for (let tries = 0; tries < SEAT_TRIES_MAX; tries += 1) {
    const offer = onrush.expect(onrush.dates(bearer, ticket, concertId), 200, 'saw dates');
    if (!offer) return null;
    if (offer.dates.length === 0) return SOLD_OUT;
    const date = oneOf(offer.dates);
    const map = onrush.expect(onrush.seats(bearer, ticket, concertId, date), 200, 'saw seats');
    if (!map) return null;
    if (map.availableSeats.length > 0) {
      const seatNumber = oneOf(map.availableSeats.slice(0, among));
      const held = onrush.reserve(bearer, ticket, { concertId, date, seatNumber });
      if (onrush.codeOf(held) !== 'seat_taken') return onrush.expect(held, 201, 'held');
      seatTaken.add(1);
    }
  }
  return null;
}

// Pays what was held: whether it is paid.
function pay(bearer, ticket, held) {
  return Boolean(onrush.expect(onrush.pay(bearer, ticket, held.reservationId), 201, 'paid'));
}

export function purchase({ wide }) {
  const { accessToken } = users[exec.scenario.iterationInTest];
  const began = Date.now();
  const ticket = enter(accessToken, wide);
  if (ticket) untilIn.add(Date.now() - began);
  const held = ticket && hold(accessToken, ticket, wide, SEATS_A_SHOW);
  const paid = held && held !== SOLD_OUT && pay(accessToken, ticket, held);
  bought.add(Boolean(paid));
  if (paid) {
    purchases.add(1);
    untilPaid.add(Date.now() - began);
  }
}

export function scramble({ narrow }) {
  const { accessToken } = users[arrivalsMax(profile) + exec.scenario.iterationInTest];
  const ticket = enter(accessToken, narrow);
  const held = ticket && hold(accessToken, ticket, narrow, BEST);
  if (held === SOLD_OUT) {
    soldOut.add(1);
    onrush.expect(onrush.leave(ticket, narrow), 204, 'left');
    served.add(true);
    return;
  }
  const paid = held && pay(accessToken, ticket, held);
  if (paid) scrambled.add(1);
  served.add(Boolean(paid));
}
