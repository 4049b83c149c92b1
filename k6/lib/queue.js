// The waiting room as a client sees it who does as he is told.
import { check, sleep } from 'k6';
import * as onrush from './onrush.js';

const POLLS_MAX = 120;

// Joins and polls as often as the server asks: the ticket of who was let in, or null.
export function enter(bearer, queue) {
  const joined = onrush.expect(onrush.join(bearer, queue), 201, 'joined');
  const ticket = joined && joined.token;
  let place = joined;
  for (let polls = 0; place && place.status === 'WAITING' && polls < POLLS_MAX; polls += 1) {
    sleep(place.pollAfterMs / 1000);
    place = onrush.expect(onrush.poll(ticket, queue), 200, 'polled');
    check(place, {
      'it keeps its number': (told) => told && told.number === joined.number,
      'nobody gets in before it': (told) => told && told.position <= joined.position,
      'it is told how many are ahead': (told) => told && told.ahead === Math.max(0, told.position - 1),
    });
  }
  return place && place.status === 'ACTIVE' ? ticket : null;
}
