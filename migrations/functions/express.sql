-- The express lane: authorize and capture in one round trip, for the plain, successful case only.
--
-- Each function does everything or nothing. Where anything is out of the ordinary (a refusal, a
-- retry, a period that is due, a hold past its deadline, a window not yet made, overage, debt,
-- credits of more than one lot, a threshold about to be crossed ...) it returns NULL, having written
-- nothing, and the caller takes the way the rules are told in: portal/authorization. What these
-- functions do write is row for row what that way would have written; tests/test_express.py compares
-- the two.
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

-- One transfer: counted in the wallet, its row, both accounts, an entry for each. Returns the balance
-- of the account it goes to. One statement, here and below, where several rows belong together: each
-- statement costs more than its row.
CREATE OR REPLACE FUNCTION clearmeter_move(
  org text, number_ bigint, kind_ text, from_ text, to_ text, amount bigint, now_ timestamptz,
  reference_ text, OUT after_ bigint
) LANGUAGE plpgsql AS $$
BEGIN
  WITH counted AS (
    UPDATE wallets SET transfers = number_, moved_at = now_ WHERE organization_id = org
  ), told AS (
    INSERT INTO transfers (organization_id, transfer_id, kind, from_account, to_account,
        amount_micro, at, reference)
      VALUES (org, number_, kind_, from_, to_, amount, now_, reference_)
  ), moved AS (
    UPDATE accounts SET version = version + 1,
        balance_micro = balance_micro + CASE account WHEN from_ THEN -amount ELSE amount END
      WHERE organization_id = org AND account IN (from_, to_)
      RETURNING account, version, balance_micro AS after_micro,
        CASE account WHEN from_ THEN -amount ELSE amount END AS amount_micro
  ), written AS (
    INSERT INTO entries (organization_id, account, version, transfer_id, amount_micro,
        before_micro, after_micro, at)
      SELECT org, account, version, number_, amount_micro, after_micro - amount_micro, after_micro,
          now_ FROM moved
  )
  SELECT after_micro INTO after_ FROM moved WHERE account = to_;
END $$;

CREATE OR REPLACE FUNCTION clearmeter_authorize(
  org text, hold_ text, action_ text, quantity bigint, credits bigint, price bigint, book bigint,
  member_ text, team_ text, project_ text, run_ text, now_ timestamptz, lasts integer,
  key_ text, fingerprint_ text, body_ text
) RETURNS text LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  number_ bigint;
  lot text;
  here bigint;
  available bigint;
  held bigint;
  caps_ text[];
  starts timestamptz[];
  until_ timestamptz;
  answer text;
BEGIN
  SELECT transfers + 1, greatest(now_, moved_at) INTO number_, now_
    FROM wallets WHERE organization_id = org FOR UPDATE;
  -- Nothing is written before what is written already, however long the lock was waited for.
  until_ := now_ + make_interval(secs => lasts);
  -- The organization is plain: charged, in its period and cycle, nothing overdue, with nothing past
  -- a deadline, no debt and no retry. The price book is the one in force. A member who is none may
  -- be one to refuse: the long way tells.
  SELECT l.names[1], l.balances[1], l.available, l.held, c.caps_, c.starts, t.team_
    INTO lot, here, available, held, caps_, starts, team_
    FROM organizations o
      LEFT JOIN subscriptions s ON s.organization_id = org
      LEFT JOIN members m ON m.organization_id = org AND m.member_id = member_
        AND m.removed_at IS NULL
      CROSS JOIN LATERAL (SELECT CASE WHEN clearmeter_authorize.team_ = '' AND member_ <> ''
        THEN m.team_id ELSE clearmeter_authorize.team_ END AS team_) t
      -- The lots in the order they are spent: core/burn_down.py; and what else stands.
      CROSS JOIN LATERAL (SELECT array_agg(l.account) FILTER (WHERE l.lot) AS names,
          array_agg(l.balance_micro) FILTER (WHERE l.lot) AS balances,
          (sum(l.balance_micro) FILTER (WHERE l.lot))::bigint AS available,
          coalesce(sum(l.balance_micro) FILTER (WHERE l.account = 'held'), 0)::bigint AS held,
          bool_or(l.account = 'debt') AS owes
        FROM (SELECT a.account, a.balance_micro, g.grant_id IS NOT NULL AS lot
          FROM accounts a LEFT JOIN grants g ON g.organization_id = org AND g.grant_id = a.account
            AND g.effective_at <= now_ AND (g.expires_at IS NULL OR g.expires_at > now_)
          WHERE a.organization_id = org AND a.standing
          ORDER BY g.priority, g.expires_at NULLS LAST, g.paid_minor IS NOT NULL, g.effective_at,
            g.grant_id COLLATE "C") l) l
      -- Every cap that applies, each with its window of now; the windows of one cap follow each
      -- other.
      CROSS JOIN LATERAL (SELECT array_agg(c.cap_id) AS caps_, array_agg(w.window_start) AS starts,
          bool_and(w.window_end > now_ AND (c.mode = 'soft' OR credits = 0
            OR w.spent_micro + w.held_micro + credits <= c.limit_micro + w.raised_micro)) AS fits,
          count(*) = count(w.window_start) AS made
        FROM caps c LEFT JOIN LATERAL (SELECT * FROM cap_windows w
          WHERE w.organization_id = org AND w.cap_id = c.cap_id AND w.window_start <= now_
          ORDER BY w.window_start DESC LIMIT 1) w ON true
        WHERE c.organization_id = org AND c.removed_at IS NULL AND c.action IN ('', action_)
          AND c.target = CASE c.scope WHEN 'organization' THEN '' WHEN 'team' THEN t.team_
            WHEN 'member' THEN member_ ELSE project_ END) c
    WHERE o.organization_id = org AND o.charging = 'on'
      AND (s.period_end IS NULL OR s.period_end > now_)
      AND (s.stops_at IS NULL OR s.stops_at > now_)
      AND (s.cycle_end IS NULL OR s.cycle_end > now_)
      AND (member_ = '' OR m.member_id IS NOT NULL)
      AND c.made AND coalesce(c.fits, true)
      AND NOT EXISTS (SELECT FROM holds d WHERE d.organization_id = org
        AND d.status = 'authorized' AND d.expires_at <= now_)
      AND (key_ IS NULL OR NOT EXISTS (SELECT FROM idempotency_keys i
        WHERE i.organization_id = org AND i.route = 'authorize' AND i.key = key_))
      AND NOT coalesce(l.owes, false)
      AND book = (SELECT version FROM price_books WHERE effective_at <= now_
        ORDER BY effective_at DESC LIMIT 1);
  -- What one lot alone does not cover goes the long way.
  IF NOT FOUND OR coalesce(here, 0) < credits THEN RETURN NULL; END IF;

  answer := body_ || ',"expires_at":"' || clearmeter_instant(until_) || '","balance":{"available":"'
    || clearmeter_decimal(coalesce(available, 0) - credits)
    || '","held":"' || clearmeter_decimal(held + credits) || '"}}';
  WITH placed AS (
    INSERT INTO holds (organization_id, hold_id, status, action, quantity_micro, credits_micro,
        price_micro, price_book_version, member_id, team_id, project_id, run_id, authorized_at,
        expires_at)
      VALUES (org, hold_, 'authorized', action_, quantity, credits, price, book, member_, team_,
        project_, run_, now_, until_)
  ), pinned AS (
    INSERT INTO hold_pins (organization_id, hold_id, position, account, amount_micro, at)
      SELECT org, hold_, 0, lot, credits, now_ WHERE credits > 0
  ), limited AS (
    INSERT INTO hold_caps (organization_id, hold_id, cap_id, window_start)
      SELECT org, hold_, unnest(caps_), unnest(starts)
  ), reserved AS (
    UPDATE cap_windows w SET held_micro = w.held_micro + credits
      FROM unnest(caps_, starts) AS c (cap_id, window_start)
      WHERE w.organization_id = org AND w.cap_id = c.cap_id AND w.window_start = c.window_start
        AND credits > 0
  ), counted AS (
    UPDATE wallets SET transfers = number_, moved_at = now_
      WHERE organization_id = org AND credits > 0
  ), told AS (
    INSERT INTO transfers (organization_id, transfer_id, kind, from_account, to_account,
        amount_micro, at, reference)
      SELECT org, number_, 'hold', lot, 'held', credits, now_, hold_ WHERE credits > 0
  ), moved AS (
    UPDATE accounts SET version = version + 1,
        balance_micro = balance_micro + CASE account WHEN lot THEN -credits ELSE credits END
      WHERE organization_id = org AND account IN (lot, 'held') AND credits > 0
      RETURNING account, version, balance_micro AS after_micro,
        CASE account WHEN lot THEN -credits ELSE credits END AS amount_micro
  ), written AS (
    INSERT INTO entries (organization_id, account, version, transfer_id, amount_micro,
        before_micro, after_micro, at)
      SELECT org, account, version, number_, amount_micro, after_micro - amount_micro, after_micro,
          now_ FROM moved
  )
  INSERT INTO idempotency_keys (organization_id, route, key, fingerprint, status, body, created_at)
    SELECT org, 'authorize', key_, fingerprint_, 201, answer, now_ WHERE key_ IS NOT NULL;
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
  number_ bigint;
  hold record;
  due bigint;
  back bigint;
  product numeric;
  answer text;
BEGIN
  SELECT w.organization_id, w.transfers + 1, greatest(now_, w.moved_at) INTO org, number_, now_
    FROM holds d JOIN wallets w ON w.organization_id = d.organization_id
    WHERE d.hold_id = hold_ AND (only_ IS NULL OR d.organization_id = only_) FOR UPDATE OF w;
  IF NOT FOUND OR quantity = 0 THEN RETURN NULL; END IF;
  -- The organization is as plain as for authorize, and so is the hold: open, nothing of it beyond
  -- grants, all of it taken from one lot. Work authorized while nothing is charged has set nothing
  -- aside. Costs are priced by the caller, who may not have seen the newest cost book.
  SELECT d.quantity_micro AS quantity, d.credits_micro AS credits, d.price_micro AS price,
      d.price_book_version AS book, d.action, d.member_id AS member, d.team_id AS team,
      d.project_id AS project, d.run_id AS run, p.account AS lot,
      g.frozen_at IS NULL AND g.voided_at IS NULL
        AND (g.expires_at IS NULL OR g.expires_at > now_) AS takes_back,
      greatest((coalesce(occurred, now_) AT TIME ZONE coalesce(z.zone, o.timezone))::date,
        z.first_day) AS day, c.to_threshold
    INTO hold
    FROM holds d
      JOIN organizations o ON o.organization_id = org
      LEFT JOIN subscriptions s ON s.organization_id = org
      JOIN hold_pins p ON p.organization_id = org AND p.hold_id = hold_ AND p.position = 0
        AND p.amount_micro = d.credits_micro
      JOIN grants g ON g.organization_id = org AND g.grant_id = p.account
      -- The organization's day, in the zone then in force: core/periods.py's local_day.
      LEFT JOIN LATERAL (SELECT z.zone, z.first_day
        FROM jsonb_to_recordset(o.calendar -> 'zones')
          AS z ("from" timestamptz, zone text, first_day date)
        WHERE z."from" <= coalesce(occurred, now_) ORDER BY z."from" DESC LIMIT 1) z ON true
      -- A hundred times what may be spent before the next threshold of any cap is reached.
      CROSS JOIN LATERAL (
        SELECT min(t.percent::int * (c.limit_micro + w.raised_micro) - 100 * w.spent_micro)
            AS to_threshold
          FROM hold_caps l
            JOIN cap_windows w ON w.organization_id = org AND w.cap_id = l.cap_id
              AND w.window_start = l.window_start
            JOIN caps c ON c.organization_id = org AND c.cap_id = l.cap_id AND c.removed_at IS NULL
            CROSS JOIN LATERAL jsonb_array_elements_text(c.thresholds) AS t (percent)
          WHERE l.organization_id = org AND l.hold_id = hold_
            AND t.percent::int * (c.limit_micro + w.raised_micro) > 100 * w.spent_micro) c
    WHERE d.organization_id = org AND d.hold_id = hold_
      AND d.status = 'authorized' AND d.overage_since IS NULL
      AND o.charging = 'on'
      AND (s.period_end IS NULL OR s.period_end > now_)
      AND (s.stops_at IS NULL OR s.stops_at > now_)
      AND (s.cycle_end IS NULL OR s.cycle_end > now_)
      AND g.claimed_micro = 0
      AND NOT EXISTS (SELECT FROM holds d WHERE d.organization_id = org
        AND d.status = 'authorized' AND d.expires_at <= now_)
      AND (key_ IS NULL OR NOT EXISTS (SELECT FROM idempotency_keys i
        WHERE i.organization_id = org AND i.route = 'capture/' || hold_ AND i.key = key_))
      AND NOT EXISTS (SELECT FROM accounts d WHERE d.organization_id = org
        AND d.account = 'debt' AND d.balance_micro <> 0)
      AND (costs IS NULL OR cost_book = (SELECT coalesce(max(version), 0) FROM cost_books));
  IF NOT FOUND THEN RETURN NULL; END IF;
  quantity := coalesce(quantity, hold.quantity);
  -- Half to even, as core/units.py divides.
  product := quantity::numeric * hold.price;
  due := div(product, 1000000);
  IF 2 * mod(product, 1000000) > 1000000
      OR (2 * mod(product, 1000000) = 1000000 AND mod(due, 2) = 1) THEN
    due := due + 1;
  END IF;
  -- What comes back to a grant that is not plain, and what would cross a threshold goes the long
  -- way.
  back := hold.credits - due;
  IF back < 0 OR due = 0 OR (back > 0 AND NOT hold.takes_back) OR 100 * due >= hold.to_threshold THEN
    RETURN NULL;
  END IF;

  answer := '{"id":"' || hold_ || '","status":"captured","credits":"' || clearmeter_decimal(due)
    || '","released":"' || clearmeter_decimal(back)
    || '","uncollected":"0","late":false,"event":"' || hold_ || '"}';
  WITH counted AS (
    UPDATE wallets SET transfers = number_, moved_at = now_ WHERE organization_id = org
  ), told AS (
    INSERT INTO transfers (organization_id, transfer_id, kind, from_account, to_account,
        amount_micro, at, reference)
      VALUES (org, number_, 'capture', 'held', 'captured', due, now_, hold_)
  ), moved AS (
    UPDATE accounts SET version = version + 1,
        balance_micro = balance_micro + CASE account WHEN 'held' THEN -due ELSE due END
      WHERE organization_id = org AND account IN ('held', 'captured')
      RETURNING account, version, balance_micro AS after_micro,
        CASE account WHEN 'held' THEN -due ELSE due END AS amount_micro
  ), written AS (
    INSERT INTO entries (organization_id, account, version, transfer_id, amount_micro,
        before_micro, after_micro, at)
      SELECT org, account, version, number_, amount_micro, after_micro - amount_micro, after_micro,
          now_ FROM moved
  ), spent AS (
    UPDATE cap_windows w SET held_micro = w.held_micro - hold.credits,
        spent_micro = w.spent_micro + due
      FROM hold_caps l
      WHERE l.organization_id = org AND l.hold_id = hold_ AND w.organization_id = org
        AND w.cap_id = l.cap_id AND w.window_start = l.window_start
  ), happened AS (
    INSERT INTO events (organization_id, source, event_id, fingerprint, type, occurred_at,
        received_at, day, action, member_id, team_id, project_id, run_id, request_type, model,
        hold_id, quantity_micro, credits_micro, uncollected_micro, price_micro, price_book_version,
        charged, properties)
      VALUES (org, 'clearmeter/authorizations', hold_, content_print, hold.action,
        coalesce(occurred, now_), now_, hold.day, hold.action, hold.member, hold.team,
        hold.project, hold.run, '', model_, hold_, quantity, due, 0, hold.price,
        hold.book, true, properties_)
  ), debited AS (
    INSERT INTO event_debits (organization_id, source, event_id, account, amount_micro)
      VALUES (org, 'clearmeter/authorizations', hold_, hold.lot, due)
  ), summed AS (
    INSERT INTO usage_daily AS u (organization_id, day, action, member_id, team_id, project_id,
        model, quantity_micro, credits_micro, uncollected_micro, events)
      VALUES (org, hold.day, hold.action, hold.member, hold.team, hold.project, model_,
        quantity, due, 0, 1)
      ON CONFLICT (organization_id, day, action, member_id, team_id, project_id, model) DO UPDATE
        SET quantity_micro = u.quantity_micro + excluded.quantity_micro,
          credits_micro = u.credits_micro + excluded.credits_micro, events = u.events + 1
  ), ended AS (
    UPDATE holds SET status = 'captured', ended_at = now_,
        outcome = jsonb_build_object('charged_micro', due, 'answer', answer::jsonb)
      WHERE organization_id = org AND hold_id = hold_
  )
  INSERT INTO idempotency_keys (organization_id, route, key, fingerprint, status, body, created_at)
    SELECT org, 'capture/' || hold_, key_, fingerprint_, 200, answer, now_ WHERE key_ IS NOT NULL;
  IF back > 0 THEN
    PERFORM clearmeter_move(org, number_ + 1, 'release', 'held', hold.lot, back, now_, hold_);
  END IF;
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
      SELECT org, hold.day, c.layer, c.quality, c.provider, c.model, hold.action, hold.member,
          sum(coalesce(c.amount_nano_usd, 0)), sum(c.input_tokens), sum(c.output_tokens), count(*)
        FROM jsonb_populate_recordset(NULL::event_costs, costs) c
        GROUP BY c.layer, c.quality, c.provider, c.model
      ON CONFLICT (organization_id, day, layer, quality, provider, model, action, member_id)
        DO UPDATE SET cost_nano_usd = d.cost_nano_usd + excluded.cost_nano_usd,
          input_tokens = d.input_tokens + excluded.input_tokens,
          output_tokens = d.output_tokens + excluded.output_tokens,
          lines = d.lines + excluded.lines;
  END IF;
  RETURN answer;
END $$;
