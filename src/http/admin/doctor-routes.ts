import { diagnosis } from '../../api/doctor.ts';
import type { Doctor } from '../../mirror/doctor.ts';
import type { AdminRoutes } from './server.ts';

/** The examination of disk, clock and upstreams. It asks each upstream, so it may take some seconds. */
export function doctorRoutes(doctor: Pick<Doctor, 'examine'>): AdminRoutes {
  return (app) => {
    app.get(
      '/doctor',
      {
        schema: {
          tags: ['status'],
          summary: 'Looks at disk, clock, DNS and each upstream, and says what to mend',
          response: { 200: diagnosis },
        },
      },
      async (_request, reply) => {
        reply.header('Cache-Control', 'no-store');
        const { isWell, findings } = await doctor.examine();
        return { isWell, findings: [...findings] };
      },
    );
  };
}
