// The users of `onrush load-users`: a file of `userId,accessToken`, read once and shared by all VUs.
import { SharedArray } from 'k6/data';

export const users = new SharedArray('users', () => {
  const lines = open(__ENV.USERS).trim().split('\n');
  return lines.slice(1).map((line) => {
    const [userId, accessToken] = line.split(',');
    return { userId, accessToken };
  });
});
