// The REST of the server's half. Jupyter's own connection carries the token and the XSRF header.

import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

export interface Item {
  uri: string;
  noun: string;
  name: string;
  state: string;
  since: number;
  detail: string;
  stoppable: boolean;
  deadline: number | null;
  job: string;
}

export interface Items {
  rev: number;
  workspace: string | null;
  now?: number;
  items: Item[];
  hint?: string;
}

/** What went wrong and how to mend it. `missing`: the server does not have our half, asking again is no use. */
export class ApiError extends Error {
  constructor(
    what: string,
    readonly fix: string,
    readonly missing = false
  ) {
    super(what);
  }
}

export class Api {
  constructor(private readonly settings: ServerConnection.ISettings) {}

  /** What was written after that revision. */
  items(since: number): Promise<Items> {
    return this.request<Items>(`items?since=${since}`, {});
  }

  /** Ask a thing to end; resolves when the request is written, not when the thing has ended. */
  async stop(item: Item): Promise<void> {
    const body = JSON.stringify({ args: [item.name] });
    await this.request<unknown>(`${item.noun}/stop`, { method: 'POST', body });
  }

  private async request<T>(path: string, init: RequestInit): Promise<T> {
    const url = URLExt.join(this.settings.baseUrl, 'aiinfra') + '/' + path;
    let response: Response;
    try {
      response = await ServerConnection.makeRequest(url, init, this.settings);
    } catch {
      throw new ApiError('The Jupyter server does not answer.', 'It is asked again, ever more slowly.');
    }
    const answer: unknown = await response.json().catch(() => ({}));
    if (!response.ok) {
      throw problem(response.status, answer as { what?: string; fix?: string });
    }
    return answer as T;
  }
}

function problem(status: number, answer: { what?: string; fix?: string }): ApiError {
  if (answer.what) {
    return new ApiError(answer.what, answer.fix ?? '');
  }
  if (status === 404) {
    return new ApiError(
      'The server half of aiinfra-lab is not running.',
      'Install aiinfra-lab where Jupyter itself is installed, restart Jupyter, then try again.',
      true
    );
  }
  if (status === 403) {
    return new ApiError('The Jupyter server does not know you any more.', 'Reload the page and log in.', true);
  }
  return new ApiError(`The Jupyter server answered ${status}.`, 'Its own log says why.');
}
