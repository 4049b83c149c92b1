// The main job as a crowd does it: join the queue, poll until let in, look at dates and seats, hold a seat,
// pay. Purchases begin at a constant rate (open loop): a slow server meets more of them at once, not fewer.
//
//   USERS         a file of `onrush load-users --count N --points 1000000` (one user a purchase)
//   ONRUSH_URL    the server            OPERATOR_EMAIL, OPERATOR_PASSWORD   who makes the concert
//   PROFILE       smoke (default), rate RATE, SECONDS                       override the profile's
import { sleep } from 'k6';
import exec from 'k6/execution';
import { Counter, Rate, Trend } from 'k6/metrics';
import { chosen, oneUserEach, openLoop, prepared, signInOperator } from './lib/load.js';
import * as onrush from './lib/onrush.js';
import { users } from './lib/users.js';

const profile = chosen({
  smoke: { rate: 20, seconds: 12 },
  rate: { rate: 100, seconds: 60 },
});

const PRICE = 1000;
const SEATS_A_SHOW = 2000;
// More seats than buyers, so that each can have one however they choose.
const SHOWS = Math.ceil((profile.rate * profile.seconds * 1.5) / SEATS_A_SHOW);
const POLLS_MAX = 60;
const SEAT_TRIES_MAX = 10;
const DAY_MS = 24 * 3600 * 1000;

const purchases = new Counter('purchases');
const bought = new Rate('bought');
const untilIn = new Trend('until_in', true);
const untilPaid = new Trend('until_paid', true);

// An iteration waits a second or two between its polls.
const limits = { preAllocatedVUs: profile.rate * 5, maxVUs: profile.rate * 15, gracefulStop: '30s' };

export const options = openLoop('purchase', profile, limits, {
  bought: ['rate==1'],
  'http_req_duration{name:poll}': ['p(95)<1000'],
  'http_req_duration{name:reserve}': ['p(95)<3000'],
  'http_req_duration{name:pay}': ['p(95)<3000'],
});

export function setup() {
  oneUserEach(profile);
  const bearer = signInOperator();
  const made = onrush.createConcert(bearer, {
    title: `Load ${new Date().toISOString()}`,
    queue: { admitPerSecond: profile.rate * 2, maxActive: profile.rate * 60, activeSeconds: 120 },
    maxSeatsPerUser: 1,
  });
  const concert = prepared(made, 201, 'the concert is made').concertId;
  for (let show = 1; show <= SHOWS; show += 1) {
    const date = new Date(Date.now() + (show + 1) * DAY_MS).toISOString().slice(0, 10);
    const added = onrush.addShow(bearer, concert, { date, price: PRICE, seatCount: SEATS_A_SHOW });
    prepared(added, 201, 'the show is made');
  }
  return { concert };
}

const oneOf = (list) => list[Math.floor(Math.random() * list.length)];

// Joins and polls as often as the server asks: the ticket of who was let in, or null.
function enter(bearer, concert) {
  let place = onrush.expect(onrush.join(bearer, concert), 201, 'joined');
  const ticket = place && place.token;
  for (let polls = 0; place && place.status === 'WAITING' && polls < POLLS_MAX; polls += 1) {
    sleep(place.pollAfterMs / 1000);
    place = onrush.expect(onrush.poll(ticket, concert), 200, 'polled');
  }
  return place && place.status === 'ACTIVE' ? ticket : null;
}

// Tries seats until one is free: others want them too.
function hold(bearer, ticket, concertId) {
  const offer = onrush.expect(onrush.dates(bearer, ticket, concertId), 200, 'saw dates');
  if (!offer) return null;
  const date = oneOf(offer.dates);
  const map = onrush.expect(onrush.seats(bearer, ticket, concertId, date), 200, 'saw seats');
  for (let tries = 0; map && tries < SEAT_TRIES_MAX; tries += 1) {
    const seatNumber = oneOf(map.availableSeats);
    const held = onrush.reserve(bearer, ticket, { concertId, date, seatNumber });
    if (held.status !== 409 || held.json('code') !== 'seat_taken') return onrush.expect(held, 201, 'held');
  }
  return null;
}

export default function purchase({ concert }) {
  const { accessToken } = users[exec.scenario.iterationInTest];
  const began = Date.now();
  const ticket = enter(accessToken, concert);
  if (ticket) untilIn.add(Date.now() - began);
  const held = ticket && hold(accessToken, ticket, concert);
  const answer = held && onrush.pay(accessToken, ticket, held.reservationId);
  const paid = answer && onrush.expect(answer, 201, 'paid');
  bought.add(Boolean(paid));
  if (paid) {
    purchases.add(1);
    untilPaid.add(Date.now() - began);
  }
}
