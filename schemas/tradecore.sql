-- The read models of the main database, for PostgreSQL 14 to 18.
--
-- Run it as one script: PostgreSQL makes one transaction of it, so all of it happens or none.
-- Running it again changes nothing. It names no schema: search_path decides where the tables go.
--
-- Indexes follow three rules. A primary key or UNIQUE constraint has its index already. A foreign
-- key is the first column of some index, for the join and for the check when its parent is deleted.
-- A composite index serves its first column too, so (user_id, status) is also the index on user_id.

-- pgdual: repeatable

CREATE TABLE IF NOT EXISTS users (
    id            UUID PRIMARY KEY,
    email         VARCHAR(255) NOT NULL UNIQUE,
    password_hash VARCHAR(255),
    first_name    VARCHAR(100),
    last_name     VARCHAR(100),
    -- Computed when an order is placed, so that no page has to join and sum.
    total_orders  INTEGER NOT NULL DEFAULT 0,
    total_spent   DECIMAL(15,2) NOT NULL DEFAULT 0,
    last_order_at TIMESTAMPTZ,
    last_login    TIMESTAMPTZ,
    status        VARCHAR(20) NOT NULL DEFAULT 'active',
    created_at    TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at    TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT chk_users_status CHECK (status IN ('active', 'inactive', 'suspended')),
    CONSTRAINT chk_users_total_orders CHECK (total_orders >= 0)
) WITH (fillfactor = 90);  -- room on the page: an update of the totals then touches no index

CREATE INDEX IF NOT EXISTS idx_users_status ON users (status);
CREATE INDEX IF NOT EXISTS idx_users_created_at ON users (created_at DESC);

CREATE TABLE IF NOT EXISTS accounts (
    id         UUID PRIMARY KEY,
    user_id    UUID REFERENCES users (id),  -- none: an account of the house
    name       VARCHAR(100),
    currency   CHAR(3) NOT NULL DEFAULT 'USD',
    balance    DECIMAL(15,2) NOT NULL DEFAULT 0,
    status     VARCHAR(20) NOT NULL DEFAULT 'active',
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT chk_accounts_status CHECK (status IN ('active', 'frozen', 'closed'))
) WITH (fillfactor = 90);

CREATE INDEX IF NOT EXISTS idx_accounts_user_status ON accounts (user_id, status);

CREATE TABLE IF NOT EXISTS orders (
    id         UUID PRIMARY KEY,
    user_id    UUID NOT NULL REFERENCES users (id),
    account_id UUID REFERENCES accounts (id),
    symbol     VARCHAR(20) NOT NULL,
    side       VARCHAR(4) NOT NULL DEFAULT 'buy',
    quantity   DECIMAL(18,6) NOT NULL DEFAULT 0,
    price      DECIMAL(15,2),  -- none: at the market
    status     VARCHAR(20) NOT NULL DEFAULT 'pending',
    data       JSONB NOT NULL DEFAULT '{}',
    placed_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT chk_orders_side CHECK (side IN ('buy', 'sell')),
    CONSTRAINT chk_orders_quantity CHECK (quantity >= 0),
    CONSTRAINT chk_orders_price CHECK (price >= 0),
    CONSTRAINT chk_orders_status CHECK (
        status IN ('pending', 'open', 'partially_filled', 'filled', 'cancelled', 'rejected')
    )
);

-- WHERE user_id = $1 AND status = $2
CREATE INDEX IF NOT EXISTS idx_orders_user_status ON orders (user_id, status);
CREATE INDEX IF NOT EXISTS idx_orders_account_id ON orders (account_id);
CREATE INDEX IF NOT EXISTS idx_orders_status ON orders (status);
CREATE INDEX IF NOT EXISTS idx_orders_placed_at ON orders (placed_at DESC);
-- WHERE data @> '{"strategy": "momentum"}'
CREATE INDEX IF NOT EXISTS idx_orders_data_gin ON orders USING gin (data);

CREATE TABLE IF NOT EXISTS positions (
    user_id    UUID NOT NULL REFERENCES users (id),
    symbol     VARCHAR(20) NOT NULL,
    quantity   DECIMAL(18,6) NOT NULL DEFAULT 0,  -- below zero: short
    status     VARCHAR(20) NOT NULL DEFAULT 'open',
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, symbol),
    CONSTRAINT chk_positions_status CHECK (status IN ('open', 'closed'))
) WITH (fillfactor = 90);

CREATE INDEX IF NOT EXISTS idx_positions_user_status ON positions (user_id, status);
CREATE INDEX IF NOT EXISTS idx_positions_symbol ON positions (symbol);

-- Append-only. A projector reads it in order of an aggregate's time.
CREATE TABLE IF NOT EXISTS events (
    event_id     UUID PRIMARY KEY,
    event_type   VARCHAR(100) NOT NULL,
    aggregate_id UUID NOT NULL,
    data         JSONB NOT NULL DEFAULT '{}',
    "timestamp"  TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE INDEX IF NOT EXISTS idx_events_aggregate ON events (aggregate_id, "timestamp");
CREATE INDEX IF NOT EXISTS idx_events_type ON events (event_type);
CREATE INDEX IF NOT EXISTS idx_events_timestamp ON events ("timestamp" DESC);
-- WHERE data @> '{"symbol": "AAPL"}'
CREATE INDEX IF NOT EXISTS idx_events_data_gin ON events USING gin (data);
