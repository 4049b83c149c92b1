// The flow of `mixed.js` and `soak.js`, and of `floor.js` that they are held against: ten requests an
// iteration, so that k6 has a tenth of the iterations to begin and is itself no limit up to about 10 000
// requests a second on two cores. Of the ten, eight poll places in a queue, one joins a queue or holds a
// seat, and one is a durable write: a charge, an order or a claim.
import { check, fail, sleep } from 'k6';
import http from 'k6/http';
import { arrivals, dayOf, daysAhead, enoughUsers, makeConcert, makeMenus } from './load.js';
import { figuresOf, options as flow, prepared, signInOperator, timed } from './load.js';
import * as onrush from './onrush.js';
import { users } from './users.js';
import { uuidv4 } from './uuid.js';

// By names of this file: what is imported k6 looks up by its name each time, and an iteration polls often.
const { charge, claim, codeOf, join, order, pollBlind, reserve } = onrush;

const REQUESTS = 10;
const PARTS = ['poll', 'join', 'reserve', 'charge', 'order', 'claim'];
const POLLS = 8;
const WRITES = 3;

const VUS = 200;
const VUS_MAX = 400;
// From one hold of a virtual user to his next, which leaves room for one of each other.
const STRIDE = VUS_MAX + 1;
// Tickets that are polled.
const CROWD_MAX = 2000;
// Queues to join: one that the crowd waits in, and others in other shards. Each takes each user once; who
// joins again finds his place.
const QUEUES = 16;
const QUEUE_ADMIT = 10;
const HOLDERS = 100;
// Enough for those of holds that nobody pays, which lapse soon and are free again.
const SEATS = 50_000;
const HOLD_SECONDS = 5;
const MENUS = 4;
const CLAIMS_A_USER = 100;
const CLAIMS_MAX = 10_000_000;
const ENTER_SECONDS_MAX = 30;
const PASS_MARGIN_SECONDS = 300;

// A scenario of `profile.rate` requests a second, in tens.
export const tens = (profile) =>
  arrivals(profile, {
    timeUnit: `${REQUESTS}s`,
    preAllocatedVUs: VUS,
    maxVUs: VUS_MAX,
    gracefulStop: '30s',
  });

// Sends a request ten times over; `last` gets the last answer.
export function tenTimes(send, last) {
  for (let sent = 1; sent < REQUESTS; sent += 1) send();
  last(send());
}

const iterations = ({ rate, seconds }) => (rate * seconds) / REQUESTS;
const crowdOf = ({ rate }) => Math.min(CROWD_MAX, Math.max(HOLDERS, rate));

// How many users the flow takes, with points enough for every order.
const needsOf = (profile) => ({ users: HOLDERS + crowdOf(profile), points: 1_000_000 });

// One iteration in a thousand may be dropped: at these rates one pause of the machine is enough for that.
export const fewDropped = (profile) => `count<=${Math.floor(iterations(profile) / 1000)}`;

// The flow's options. `thresholds` come beside those that it has anyway.
export function mixOptions(name, profile, thresholds = {}) {
  const times = `http_req_duration{scenario:${name}}`;
  return {
    ...flow({ [name]: tens(profile) }, needsOf(profile), {
      dropped_iterations: [fewDropped(profile)],
      // Of the flow alone, without what setup asks.
      [`http_req_failed{scenario:${name}}`]: ['rate==0'],
      ...figuresOf([times, ...PARTS.map((part) => times.replace('}', `,name:${part}}`))]),
      ...timed(profile, thresholds),
    }),
    batch: 20,
    batchPerHost: 20,
    setupTimeout: '120s',
  };
}

// The flow must not be told to come back later, as a client may be that is one of many.
http.setResponseCallback(http.expectedStatuses({ min: 200, max: 299 }, 409));

// A tenth of the crowd gets in while it is polled. Who is in is asked for on and on, as those who wait are;
// people stop when they are in, one poll of many.
function admission({ seconds }, crowd) {
  const rate = crowd / (10 * seconds);
  return rate < 10 ? Math.floor(rate * 10) / 10 : Math.floor(rate);
}

// Joins everybody: their tickets.
function joinAll(people, queue) {
  const bearers = people.map(({ accessToken }) => accessToken);
  return onrush.joinAll(bearers, queue).map((answer) => prepared(answer, 201, 'joined at the start').token);
}

// Waits until all are in.
function waitUntilIn(tickets, queue) {
  for (let tries = 0; tries < ENTER_SECONDS_MAX; tries += 1) {
    const places = onrush.pollAll(tickets, queue).map((told) => prepared(told, 200, 'polled at the start'));
    if (places.every(({ status }) => status === 'ACTIVE')) return;
    sleep(1);
  }
  fail('those who hold seats are not let in');
}

// What the flow is about: queues, a concert with people in it who hold seats, menus, a campaign.
export function mixSetup(profile) {
  const needs = needsOf(profile);
  enoughUsers(needs);
  if (iterations(profile) / WRITES > needs.users * CLAIMS_A_USER) {
    fail('more claims than the users may make: take less time, or a lower rate');
  }
  const operator = signInOperator();
  const passes = { maxActive: 100_000, activeSeconds: profile.seconds + PASS_MARGIN_SECONDS };
  const everybody = users.slice(0, needs.users);

  const queues = Array.from({ length: QUEUES }, (_, at) => {
    const admitPerSecond = at === 0 ? admission(profile, crowdOf(profile)) : QUEUE_ADMIT;
    const made = onrush.createQueue(operator, { name: `Load ${at}`, admitPerSecond, ...passes });
    return prepared(made, 201, 'the queue is made').queueId;
  });
  const tickets = joinAll(everybody.slice(HOLDERS), queues[0]);

  const queue = { admitPerSecond: 1000, ...passes };
  const concert = { queue, maxSeatsPerUser: 1000, holdSeconds: HOLD_SECONDS };
  const concertId = makeConcert(operator, concert, { price: 10, seats: SEATS, seatsAShow: SEATS });
  const holders = joinAll(everybody.slice(0, HOLDERS), concertId);
  waitUntilIn(holders, concertId);

  const campaign = onrush.createCampaign(operator, {
    name: 'Load',
    quantity: CLAIMS_MAX,
    expiresAt: daysAhead(30),
    perUser: CLAIMS_A_USER,
  });
  return {
    queues,
    // In one string: each virtual user reads all of setup's data at the start, and a list is slow to read.
    tickets: tickets.join(' '),
    holders: holders.join(' '),
    concertId,
    date: dayOf(0),
    menus: makeMenus(operator, MENUS),
    campaign: prepared(campaign, 201, 'the campaign is made').campaignId,
  };
}

const created = ({ status }) => status === 201;
const CHARGED = { charged: created };
const ORDERED = { ordered: created };
const CLAIMED = { claimed: created };
const JOINED = { joined: ({ status }) => status === 201 || status === 200 };
const HELD = { 'held, or taken': (told) => told.status === 201 || codeOf(told) === 'seat_taken' };

// Each user joins each queue.
function enter(nth, { people, queues }) {
  const { accessToken } = people[nth % people.length];
  check(join(accessToken, queues[Math.floor(nth / people.length) % queues.length]), JOINED);
}

// Seats one after the other: the first is free again when the last was held.
function hold(at, { holder, concertId, date }) {
  const body = { concertId, date, seatNumber: 1 + (at % SEATS) };
  check(reserve(holder.accessToken, holder.ticket, body), HELD);
}

function write(nth, { people, menus, campaign }) {
  const turn = Math.floor(nth / WRITES);
  const { accessToken, userId } = people[turn % people.length];
  if (nth % WRITES === 0) {
    check(charge(accessToken, userId, 100), CHARGED);
  } else if (nth % WRITES === 1) {
    const items = [{ menuId: menus[turn % menus.length], quantity: 1 }];
    check(order(accessToken, { items }, uuidv4()), ORDERED);
  } else {
    check(claim(accessToken, campaign), CLAIMED);
  }
}

// Of a list, what a virtual user is about.
function mineOf(list) {
  const mine = [];
  for (let at = __VU % VUS; at < list.length; at += VUS) mine.push(list[at]);
  return mine;
}

// What a virtual user is about, made of what setup told: his own tickets of the crowd, his own users, who
// holds, and where. Users are read from what is shared once: that takes k6 a sixth of a request each time.
let own;
const ownOf = ({ tickets, holders, ...made }) => {
  const whose = __VU % HOLDERS;
  return {
    queues: [...made.queues],
    menus: [...made.menus],
    holder: { ticket: holders.split(' ')[whose], accessToken: users[whose].accessToken },
    tickets: mineOf(tickets.split(' ')),
    people: mineOf(users),
    concertId: made.concertId,
    date: made.date,
    campaign: made.campaign,
  };
};

// One iteration. It numbers itself: that k6 numbers it takes as long as a request.
export function mixTen(made) {
  own = own || ownOf(made);
  const { tickets, queues } = own;
  for (let poll = 0; poll < POLLS; poll += 1) {
    // No check: a poll that fails is in http_req_failed, and a check each would cost k6 a tenth of its rate.
    pollBlind(tickets[poll % tickets.length], queues[0]);
    if (poll === POLLS / 2) write(__ITER + __VU, own);
  }
  const half = Math.floor(__ITER / 2);
  if ((__ITER + __VU) % 2 === 0) enter(half, own);
  else hold(half * STRIDE + __VU, own);
}
