-- The express lane: authorize and capture in one round trip, for the plain, successful case only.
--
-- Each function does everything or nothing. Where anything is out of the ordinary (a refusal, a
-- retry, a period that is due, a hold past its deadline, a window not yet made, overage, debt, a
-- threshold about to be crossed ...) it returns NULL, having written nothing, and the caller takes
-- the way the rules are told in: portal/authorization.py. What these functions do write is row for
-- row what that way would have written; tests/test_express.py compares the two.
--
-- Each statement of a volatile function sees what was committed before it began, so everything that
-- is read after the wallet's row is locked stays as it was read until the transaction ends.

CREATE OR REPLACE FUNCTION clearmeter_decimal(micro bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN mod(micro, 1000000) = 0 THEN (micro / 1000000)::text
    ELSE (micro / 1000000)::text || '.' || rtrim(lpad((mod(micro, 1000000))::text, 6, '0'), '0') END
$$;

-- An instant as Python's isoformat writes it in UTC: microseconds only where there are some.
CREATE OR REPLACE FUNCTION clearmeter_instant(at_ timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT to_char(at_ AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS')
    || CASE WHEN mod(extract(microseconds FROM at_)::bigint, 1000000) = 0 THEN ''
      ELSE to_char(at_ AT TIME ZONE 'UTC', '.US') END || '+00:00'
$$;

-- The two below are PL/pgSQL for the sake of its plans, which live as long as the session: a function
-- in SQL that is not a mere expression is planned again at each call.

-- The organization's day of an instant, in the zone then in force: core/periods.py's local_day.
CREATE OR REPLACE FUNCTION clearmeter_local_day(org text, at_ timestamptz) RETURNS date
LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN (SELECT greatest((at_ AT TIME ZONE coalesce(c.zone, o.timezone))::date, c.first_day)
    FROM organizations o LEFT JOIN LATERAL (
        SELECT z.zone, z.first_day
        FROM jsonb_to_recordset(o.calendar -> 'zones')
          AS z ("from" timestamptz, zone text, first_day date)
        WHERE z."from" <= at_ ORDER BY z."from" DESC LIMIT 1) c ON true
    WHERE o.organization_id = org);
END $$;

-- The organization is plain: charged, in its period and cycle, nothing overdue, with nothing past a
-- deadline and no retry.
CREATE OR REPLACE FUNCTION clearmeter_plain(org text, route_ text, key_ text, now_ timestamptz)
RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN (SELECT o.charging = 'on'
      AND (s.period_end IS NULL OR s.period_end > now_)
      AND (s.stops_at IS NULL OR s.stops_at > now_)
      AND (s.cycle_end IS NULL OR s.cycle_end > now_)
      AND NOT EXISTS (SELECT FROM holds h WHERE h.organization_id = org
        AND h.status = 'authorized' AND h.expires_at <= now_)
      AND (key_ IS NULL OR NOT EXISTS (SELECT FROM idempotency_keys i
        WHERE i.organization_id = org AND i.route = route_ AND i.key = key_))
      AND NOT EXISTS (SELECT FROM accounts a WHERE a.organization_id = org
        AND a.account = 'debt' AND a.balance_micro <> 0)
    FROM organizations o LEFT JOIN subscriptions s ON s.organization_id = o.organization_id
    WHERE o.organization_id = org);
END $$;

CREATE OR REPLACE FUNCTION clearmeter_authorize(
  org text, hold_ text, action_ text, quantity bigint, credits bigint, price bigint, book bigint,
  member_ text, team_ text, project_ text, run_ text, now_ timestamptz, lasts integer,
  key_ text, fingerprint_ text, body_ text
) RETURNS text LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  purse record;
  held record;
  counters record;
  lots record;
  lot text;
  before bigint;
  missing bigint := credits;
  part bigint;
  number_ bigint;
  place integer := 0;
  until_ timestamptz;
  home text;
  answer text;
BEGIN
  SELECT transfers, moved_at INTO purse FROM wallets WHERE organization_id = org FOR UPDATE;
  IF NOT FOUND THEN RETURN NULL; END IF;
  -- Nothing is written before what is written already, however long the lock was waited for.
  now_ := greatest(now_, purse.moved_at);
  until_ := now_ + make_interval(secs => lasts);
  IF clearmeter_plain(org, 'authorize', key_, now_) IS NOT TRUE THEN RETURN NULL; END IF;
  IF book IS DISTINCT FROM coalesce(
      (SELECT version FROM price_books WHERE effective_at <= now_
        ORDER BY effective_at DESC LIMIT 1),
      (SELECT version FROM price_books ORDER BY effective_at LIMIT 1)) THEN
    RETURN NULL;
  END IF;
  -- A member who is none may be one to refuse: the long way tells.
  IF member_ <> '' THEN
    SELECT m.team_id INTO home FROM members m
      WHERE m.organization_id = org AND m.member_id = member_ AND m.removed_at IS NULL;
    IF NOT FOUND THEN RETURN NULL; END IF;
    IF team_ = '' THEN team_ := home; END IF;
  END IF;
  -- Every cap that applies, each with its window of now; the windows of one cap follow each other.
  SELECT array_agg(c.cap_id ORDER BY c.cap_id) AS caps,
      array_agg(w.window_start ORDER BY c.cap_id) AS starts,
      bool_and(w.window_end > now_ AND (c.mode = 'soft' OR credits = 0
        OR w.spent_micro + w.held_micro + credits <= c.limit_micro + w.raised_micro)) AS fits,
      count(*) AS all_, count(w.window_start) AS made
    INTO counters
    FROM caps c LEFT JOIN LATERAL (SELECT * FROM cap_windows w
      WHERE w.organization_id = org AND w.cap_id = c.cap_id AND w.window_start <= now_
      ORDER BY w.window_start DESC LIMIT 1) w ON true
    WHERE c.organization_id = org AND c.removed_at IS NULL AND c.action IN ('', action_)
      AND c.target = CASE c.scope WHEN 'organization' THEN '' WHEN 'team' THEN team_
        WHEN 'member' THEN member_ ELSE project_ END;
  IF counters.made <> counters.all_ OR NOT counters.fits THEN RETURN NULL; END IF;
  -- The lots in the order they are spent: core/burn_down.py.
  SELECT array_agg(l.account) AS names, array_agg(l.balance_micro) AS balances,
      array_agg(l.version) AS versions, coalesce(sum(l.balance_micro), 0)::bigint AS available
    INTO lots
    FROM (SELECT a.account, a.balance_micro, a.version
        FROM accounts a JOIN grants g ON g.organization_id = org AND g.grant_id = a.account
        WHERE a.organization_id = org AND a.standing
          AND g.effective_at <= now_ AND (g.expires_at IS NULL OR g.expires_at > now_)
        ORDER BY g.priority, g.expires_at NULLS LAST, g.paid_minor IS NOT NULL, g.effective_at,
          g.grant_id COLLATE "C") l;
  IF lots.available < credits THEN RETURN NULL; END IF;

  INSERT INTO holds (organization_id, hold_id, status, action, quantity_micro, credits_micro,
      price_micro, price_book_version, member_id, team_id, project_id, run_id, authorized_at,
      expires_at)
    VALUES (org, hold_, 'authorized', action_, quantity, credits, price, book, member_, team_,
      project_, run_, now_, until_);
  SELECT balance_micro AS balance, version INTO held FROM accounts
    WHERE organization_id = org AND account = 'held';
  number_ := purse.transfers;
  IF credits > 0 THEN
    LOOP
      place := place + 1;
      lot := lots.names[place];
      before := lots.balances[place];
      part := least(before, missing);
      missing := missing - part;
      number_ := number_ + 1;
      INSERT INTO transfers (organization_id, transfer_id, kind, from_account, to_account,
          amount_micro, at, reference)
        VALUES (org, number_, 'hold', lot, 'held', part, now_, hold_);
      INSERT INTO entries (organization_id, account, version, transfer_id, amount_micro,
          before_micro, after_micro, at)
        VALUES (org, lot, lots.versions[place] + 1, number_, -part, before, before - part, now_),
          (org, 'held', held.version + 1, number_, part, held.balance, held.balance + part, now_);
      UPDATE accounts SET balance_micro = before - part, version = lots.versions[place] + 1
        WHERE organization_id = org AND account = lot;
      INSERT INTO hold_pins (organization_id, hold_id, position, account, amount_micro, at)
        VALUES (org, hold_, place - 1, lot, part, now_);
      held.balance := held.balance + part;
      held.version := held.version + 1;
      EXIT WHEN missing = 0;
    END LOOP;
    UPDATE accounts SET balance_micro = held.balance, version = held.version
      WHERE organization_id = org AND account = 'held';
    UPDATE wallets SET transfers = number_, moved_at = now_ WHERE organization_id = org;
  END IF;
  IF counters.all_ > 0 THEN
    WITH counted AS (
      UPDATE cap_windows w SET held_micro = w.held_micro + credits
        FROM unnest(counters.caps, counters.starts) AS c (cap_id, window_start)
        WHERE w.organization_id = org AND w.cap_id = c.cap_id AND w.window_start = c.window_start
        RETURNING w.cap_id, w.window_start)
    INSERT INTO hold_caps (organization_id, hold_id, cap_id, window_start)
      SELECT org, hold_, cap_id, window_start FROM counted;
  END IF;
  answer := body_ || ',"expires_at":"' || clearmeter_instant(until_) || '","balance":{"available":"' || clearmeter_decimal(lots.available - credits)
    || '","held":"' || clearmeter_decimal(held.balance) || '"}}';
  IF key_ IS NOT NULL THEN
    INSERT INTO idempotency_keys (organization_id, route, key, fingerprint, status, body,
        created_at)
      VALUES (org, 'authorize', key_, fingerprint_, 201, answer, now_);
  END IF;
  RETURN answer;
END $$;

CREATE OR REPLACE FUNCTION clearmeter_capture(
  only_ text, hold_ text, quantity bigint, occurred timestamptz, now_ timestamptz, key_ text,
  fingerprint_ text, content_print text, properties_ jsonb, model_ text, costs jsonb,
  cost_book integer
) RETURNS text LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  org text;
  purse record;
  hold record;
  pin record;
  account_ record;
  held record;
  plain boolean;
  local_day date;
  due bigint;
  rest bigint;
  back bigint;
  returned bigint := 0;
  number_ bigint;
  product numeric;
  answer text;
BEGIN
  SELECT organization_id INTO org FROM holds WHERE hold_id = hold_;
  IF NOT FOUND OR (only_ IS NOT NULL AND org <> only_) THEN RETURN NULL; END IF;
  SELECT transfers, moved_at INTO purse FROM wallets WHERE organization_id = org FOR UPDATE;
  now_ := greatest(now_, purse.moved_at);
  IF clearmeter_plain(org, 'capture/' || hold_, key_, now_) IS NOT TRUE THEN RETURN NULL; END IF;
  SELECT * INTO hold FROM holds WHERE organization_id = org AND hold_id = hold_;
  IF hold.status <> 'authorized' OR hold.overage_since IS NOT NULL OR quantity = 0 THEN
    RETURN NULL;
  END IF;
  -- Costs are priced by the caller, who may not have seen the newest cost book.
  IF costs IS NOT NULL
      AND cost_book <> (SELECT coalesce(max(version), 0) FROM cost_books) THEN
    RETURN NULL;
  END IF;
  quantity := coalesce(quantity, hold.quantity_micro);
  -- Half to even, as core/units.py divides.
  product := quantity::numeric * hold.price_micro;
  due := div(product, 1000000);
  IF 2 * mod(product, 1000000) > 1000000
      OR (2 * mod(product, 1000000) = 1000000 AND mod(due, 2) = 1) THEN
    due := due + 1;
  END IF;
  IF due > hold.credits_micro OR hold.credits_micro = 0 OR due = 0 THEN RETURN NULL; END IF;
  -- Work authorized while nothing is charged has set nothing aside. That, what comes back to a grant
  -- that is not plain, and what would cross a threshold goes the long way.
  SELECT count(*) > 0
      AND bool_and(g.claimed_micro = 0 AND (due = hold.credits_micro OR (g.frozen_at IS NULL
        AND g.voided_at IS NULL AND (g.expires_at IS NULL OR g.expires_at > now_))))
      AND NOT EXISTS (SELECT FROM hold_caps l
        JOIN cap_windows w ON w.organization_id = org AND w.cap_id = l.cap_id
          AND w.window_start = l.window_start
        JOIN caps c ON c.organization_id = org AND c.cap_id = l.cap_id AND c.removed_at IS NULL
        CROSS JOIN LATERAL jsonb_array_elements_text(c.thresholds) AS t (percent)
        WHERE l.organization_id = org AND l.hold_id = hold_ AND c.limit_micro + w.raised_micro > 0
          AND w.spent_micro * 100 < t.percent::int * (c.limit_micro + w.raised_micro)
          AND (w.spent_micro + due) * 100 >= t.percent::int * (c.limit_micro + w.raised_micro))
    INTO plain
    FROM hold_pins p JOIN grants g ON g.organization_id = org AND g.grant_id = p.account
    WHERE p.organization_id = org AND p.hold_id = hold_;
  IF plain IS NOT TRUE THEN RETURN NULL; END IF;

  local_day := clearmeter_local_day(org, coalesce(occurred, now_));
  SELECT h.balance_micro AS balance, h.version, c.balance_micro AS captured,
      c.version AS captured_version
    INTO held FROM accounts h JOIN accounts c ON c.organization_id = org AND c.account = 'captured'
    WHERE h.organization_id = org AND h.account = 'held';
  number_ := purse.transfers + 1;
  INSERT INTO transfers (organization_id, transfer_id, kind, from_account, to_account,
      amount_micro, at, reference)
    VALUES (org, number_, 'capture', 'held', 'captured', due, now_, hold_);
  INSERT INTO entries (organization_id, account, version, transfer_id, amount_micro,
      before_micro, after_micro, at)
    VALUES (org, 'held', held.version + 1, number_, -due, held.balance, held.balance - due, now_),
      (org, 'captured', held.captured_version + 1, number_, due, held.captured,
        held.captured + due, now_);
  held.balance := held.balance - due;
  held.version := held.version + 1;
  IF due < hold.credits_micro THEN
    rest := due;
    FOR pin IN SELECT account, amount_micro AS amount FROM hold_pins
        WHERE organization_id = org AND hold_id = hold_ ORDER BY position LOOP
      back := pin.amount - least(pin.amount, rest);
      rest := rest - least(pin.amount, rest);
      CONTINUE WHEN back = 0;
      number_ := number_ + 1;
      returned := returned + back;
      SELECT balance_micro AS balance, version INTO account_ FROM accounts
        WHERE organization_id = org AND account = pin.account;
      INSERT INTO transfers (organization_id, transfer_id, kind, from_account, to_account,
          amount_micro, at, reference)
        VALUES (org, number_, 'release', 'held', pin.account, back, now_, hold_);
      INSERT INTO entries (organization_id, account, version, transfer_id, amount_micro,
          before_micro, after_micro, at)
        VALUES (org, 'held', held.version + 1, number_, -back, held.balance, held.balance - back,
            now_),
          (org, pin.account, account_.version + 1, number_, back, account_.balance,
            account_.balance + back, now_);
      UPDATE accounts SET balance_micro = account_.balance + back, version = account_.version + 1
        WHERE organization_id = org AND account = pin.account;
      held.balance := held.balance - back;
      held.version := held.version + 1;
    END LOOP;
  END IF;
  UPDATE accounts a SET balance_micro = is_.balance, version = is_.version
    FROM (VALUES ('held', held.balance, held.version),
      ('captured', held.captured + due, held.captured_version + 1)) AS is_ (account, balance, version)
    WHERE a.organization_id = org AND a.account = is_.account;
  UPDATE wallets SET transfers = number_, moved_at = now_ WHERE organization_id = org;
  UPDATE cap_windows w SET held_micro = w.held_micro - hold.credits_micro,
      spent_micro = w.spent_micro + due
    FROM hold_caps l
    WHERE l.organization_id = org AND l.hold_id = hold_ AND w.organization_id = org
      AND w.cap_id = l.cap_id AND w.window_start = l.window_start;

  INSERT INTO events (organization_id, source, event_id, fingerprint, type, occurred_at,
      received_at, day, action, member_id, team_id, project_id, run_id, request_type, model,
      hold_id, quantity_micro, credits_micro, uncollected_micro, price_micro, price_book_version,
      charged, properties)
    VALUES (org, 'clearmeter/authorizations', hold_, content_print, hold.action,
      coalesce(occurred, now_), now_, local_day, hold.action, hold.member_id, hold.team_id,
      hold.project_id, hold.run_id, '', model_, hold_, quantity, due, 0, hold.price_micro,
      hold.price_book_version, true, properties_);
  INSERT INTO event_debits (organization_id, source, event_id, account, amount_micro)
    SELECT org, 'clearmeter/authorizations', hold_, p.account, sum(p.used)
      FROM (SELECT account, least(amount_micro, due - (sum(amount_micro) OVER (ORDER BY position)
          - amount_micro)) AS used
        FROM hold_pins WHERE organization_id = org AND hold_id = hold_) p
      WHERE p.used > 0 GROUP BY p.account;
  INSERT INTO usage_daily AS u (organization_id, day, action, member_id, team_id, project_id, model,
      quantity_micro, credits_micro, uncollected_micro, events)
    VALUES (org, local_day, hold.action, hold.member_id, hold.team_id, hold.project_id, model_,
      quantity, due, 0, 1)
    ON CONFLICT (organization_id, day, action, member_id, team_id, project_id, model) DO UPDATE
      SET quantity_micro = u.quantity_micro + excluded.quantity_micro,
        credits_micro = u.credits_micro + excluded.credits_micro, events = u.events + 1;
  IF costs IS NOT NULL THEN
    INSERT INTO event_costs (organization_id, source, event_id, line, layer, quality,
        amount_nano_usd, provider, model, resource, input_tokens, output_tokens,
        cached_input_tokens, cache_write_tokens, reasoning_tokens, price_source, stated_nano_usd,
        suspect)
      SELECT org, 'clearmeter/authorizations', hold_, c.line, c.layer, c.quality,
          c.amount_nano_usd, c.provider, c.model, c.resource, c.input_tokens, c.output_tokens,
          c.cached_input_tokens, c.cache_write_tokens, c.reasoning_tokens, c.price_source,
          c.stated_nano_usd, false
        FROM jsonb_populate_recordset(NULL::event_costs, costs) c;
    INSERT INTO cost_daily AS d (organization_id, day, layer, quality, provider, model, action,
        member_id, cost_nano_usd, input_tokens, output_tokens, lines)
      SELECT org, local_day, c.layer, c.quality, c.provider, c.model, hold.action, hold.member_id,
          sum(coalesce(c.amount_nano_usd, 0)), sum(c.input_tokens), sum(c.output_tokens), count(*)
        FROM jsonb_populate_recordset(NULL::event_costs, costs) c
        GROUP BY c.layer, c.quality, c.provider, c.model
      ON CONFLICT (organization_id, day, layer, quality, provider, model, action, member_id)
        DO UPDATE SET cost_nano_usd = d.cost_nano_usd + excluded.cost_nano_usd,
          input_tokens = d.input_tokens + excluded.input_tokens,
          output_tokens = d.output_tokens + excluded.output_tokens,
          lines = d.lines + excluded.lines;
  END IF;
  answer := '{"id":"' || hold_ || '","status":"captured","credits":"' || clearmeter_decimal(due)
    || '","released":"' || clearmeter_decimal(returned)
    || '","uncollected":"0","late":false,"event":"' || hold_ || '"}';
  UPDATE holds SET status = 'captured', ended_at = now_,
      outcome = jsonb_build_object('charged_micro', due, 'answer', answer::jsonb)
    WHERE organization_id = org AND hold_id = hold_;
  IF key_ IS NOT NULL THEN
    INSERT INTO idempotency_keys (organization_id, route, key, fingerprint, status, body,
        created_at)
      VALUES (org, 'capture/' || hold_, key_, fingerprint_, 200, answer, now_);
  END IF;
  RETURN answer;
END $$;
