import type { FastifyInstance } from 'fastify';
import { diagnosis } from '../../api/doctor.ts';
import type { Doctor } from '../../mirror/doctor.ts';

/** `GET /api/v1/doctor`: takes as long as the slowest upstream, half a minute at most. */
export function addDoctor(app: FastifyInstance, doctor: Pick<Doctor, 'examine'>): void {
  app.get('/api/v1/doctor', async (_request, reply) =>
    reply.header('Cache-Control', 'no-store').send(diagnosis.parse(await doctor.examine())),
  );
}
