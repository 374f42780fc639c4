import { useSignal } from '@preact/signals';
import { PageTitle } from '../parts/page-title.tsx';
import { ErrorNotice } from '../parts/notices.tsx';
import { apiErrorOf, type ApiError } from '../session/admin-api.ts';
import { useSession, useText } from '../session/context.tsx';

/** Asks for the admin token, when the server wants one. */
export function UnlockPage() {
  const { api } = useSession();
  const text = useText().unlock;
  const isWrong = useSignal(false);
  const error = useSignal<ApiError | undefined>(undefined);
  const unlock = async (token: string): Promise<void> => {
    error.value = undefined;
    try {
      isWrong.value = !(await api.unlock(token.trim()));
    } catch (failure) {
      error.value = apiErrorOf(failure);
    }
  };
  return (
    <form
      class="unlock"
      onSubmit={(event) => {
        event.preventDefault();
        const token = new FormData(event.currentTarget).get('token');
        if (typeof token === 'string') void unlock(token);
      }}
    >
      <PageTitle>{text.title}</PageTitle>
      <p id="token-explain">{text.explain}</p>
      <label>
        <span>{text.label}</span>
        <input
          type="password"
          name="token"
          required
          autoComplete="current-password"
          aria-describedby="token-explain"
          aria-invalid={isWrong.value}
        />
      </label>
      <p role="alert" class="bad-text">
        {isWrong.value ? text.wrong : ''}
      </p>
      {error.value !== undefined && <ErrorNotice error={error.value} />}
      <button type="submit" class="primary">
        {text.submit}
      </button>
    </form>
  );
}
