import { z } from 'zod';
import { always, needTokenBeyondLoopback } from '../contradictions.ts';
import { listen, secret } from '../scalars.ts';
import { doorTls } from './door-tls.ts';

/** The door for operators. */
export const admin = z
  .strictObject({
    listen: listen.prefault('127.0.0.1:5001'),
    token: secret.optional(),
    tls: doorTls.optional(),
  })
  .superRefine(needTokenBeyondLoopback, always);
