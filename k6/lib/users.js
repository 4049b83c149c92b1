// The users of `onrush load-users`: a file of `userId,accessToken`, read once and shared by all VUs.
import { SharedArray } from 'k6/data';

export const users = new SharedArray('users', () => {
  // Without a file there are none: `k6 inspect` asks a flow what it needs before they are made.
  if (!__ENV.USERS) return [];
  const lines = open(__ENV.USERS).trim().split('\n');
  return lines.slice(1).map((line) => {
    const [userId, accessToken] = line.split(',');
    return { userId, accessToken };
  });
});
