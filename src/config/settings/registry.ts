import { z } from 'zod';
import { listen, timeout } from '../scalars.ts';
import { doorTls } from './door-tls.ts';

/** The door for clients. */
export const registry = z
  .strictObject({
    listen: listen.prefault('0.0.0.0:5000'),
    tls: doorTls.optional(),
    shutdownTimeout: timeout.prefault('10s'),
  })
  .transform(({ shutdownTimeout, ...rest }) => ({ ...rest, shutdownTimeoutMs: shutdownTimeout }));
