import { PageTitle } from '../parts/page-title.tsx';
import { useText } from '../session/context.tsx';
import { linkTo } from '../session/route.ts';

export function NotFoundPage() {
  const text = useText();
  return (
    <>
      <PageTitle>{text.common.notFound}</PageTitle>
      <a href={linkTo('')}>{text.nav.overview}</a>
    </>
  );
}
