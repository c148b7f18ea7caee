// The REST of the server's half. Jupyter's own connection carries the token and the XSRF header.

import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

/** What is asked about before it is done: the answer calls `verb`. `instead`: the verb of a milder action. */
export interface Action {
  verb: string;
  title: string;
  question: string;
  consequence: string;
  instead: string;
}

/** How a state looks; only the server knows which state looks how. */
export interface Mark {
  word: string;
  glyph: string;
  tone: string;
}

export interface Item extends Mark {
  uri: string;
  noun: string;
  name: string;
  state: string;
  is_live: boolean;
  since: number;
  detail: string;
  figure: string;
  facts: string[];
  progress: [number, number] | null;
  stoppable: boolean;
  deadline: number | null;
  job: string;
  actions: Action[];
}

export interface Step {
  text: string;
  code: string;
  open?: string;
}

export interface Items {
  rev: number;
  workspace: string | null;
  now?: number;
  items: Item[];
  gone?: string[];
  feed?: string;
  usd_per_hour?: number;
  is_least?: boolean;
  hint?: string;
  steps?: Step[];
}

export interface Fact {
  label: string;
  value: string;
  mark: Mark | null;
}

export interface Arm {
  uri: string;
  role: string;
  share: number;
  cells: string[];
}

export interface Details {
  facts: Fact[];
  problem: string;
  fix: string;
  columns: string[];
  arms: Arm[];
  url: string;
  example: string;
  picture: string;
  picture_alt: string;
  log: string;
}

interface Answer {
  state: string;
  error: { what: string; fix: string } | null;
}

const LOOK_MS = 700;
const LIVE = ['starting', 'running', 'stopping'];

/** What went wrong and how to mend it. `missing`: asking again is no use. `away`: nobody answered. */
export class ApiError extends Error {
  constructor(
    what: string,
    readonly fix: string,
    readonly kind: 'refused' | 'missing' | 'away' = 'refused',
    readonly line = ''
  ) {
    super(what);
  }
}

export class Api {
  constructor(private readonly settings: ServerConnection.ISettings) {}

  /** What was written after that revision. */
  items(since: number): Promise<Items> {
    return this.request<Items>(`items?since=${since}`);
  }

  /** What there is to see of one thing. */
  details(item: Item): Promise<Details> {
    return this.request<Details>(`items/${encodeURIComponent(item.uri)}?job=${encodeURIComponent(item.job)}`);
  }

  /** Ask a thing to end; resolves when the request is written, not when the thing has ended. */
  async stop(item: Item): Promise<void> {
    await this.post(item, 'stop');
  }

  /** Call another verb for a thing; resolves when it has done what it does. */
  async act(item: Item, verb: string): Promise<void> {
    const { job } = await this.post<{ job: string }>(item, verb);
    let answer = await this.request<Answer>(`jobs/${job}`);
    while (LIVE.includes(answer.state)) {
      await new Promise(resolve => window.setTimeout(resolve, LOOK_MS));
      answer = await this.request<Answer>(`jobs/${job}`);
    }
    if (answer.error) {
      throw new ApiError(answer.error.what, answer.error.fix);
    }
  }

  private post<T>(item: Item, verb: string): Promise<T> {
    return this.request<T>(`${item.noun}/${verb}`, { method: 'POST', body: JSON.stringify({ args: [item.name] }) });
  }

  private async request<T>(path: string, init: RequestInit = {}): Promise<T> {
    const url = URLExt.join(this.settings.baseUrl, 'aiinfra') + '/' + path;
    let response: Response;
    try {
      response = await ServerConnection.makeRequest(url, init, this.settings);
    } catch {
      throw new ApiError('The server does not answer.', 'It is asked again, ever more slowly.', 'away');
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
    return new ApiError(answer.what, answer.fix ?? '', status === 503 ? 'away' : 'refused');
  }
  if (status === 404) {
    const line = 'pip install aiinfra-lab';
    const fix = `\`${line}\` where JupyterLab itself runs, then start it again.`;
    return new ApiError('The server half is missing.', fix, 'missing', line);
  }
  if (status === 403) {
    return new ApiError('The server does not know you any more.', 'reload the page and log in.', 'missing');
  }
  return new ApiError(`The server answered ${status}.`, 'its own log says why.', 'away');
}
