-- tradecore_vb.sql as it was first. It stays as it is: what comes after it is another migration.

CREATE TABLE IF NOT EXISTS vb_accounts (
    id         UUID PRIMARY KEY,
    user_id    UUID NOT NULL,  -- a user of the main database
    name       VARCHAR(100),
    currency   CHAR(3) NOT NULL DEFAULT 'USD',
    balance    DECIMAL(15,2) NOT NULL DEFAULT 0,
    status     VARCHAR(20) NOT NULL DEFAULT 'active',
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT chk_vb_accounts_status CHECK (status IN ('active', 'frozen', 'closed'))
) WITH (fillfactor = 90);  -- room on the page: an update of the balance then touches no index

CREATE INDEX IF NOT EXISTS idx_vb_accounts_user_status ON vb_accounts (user_id, status);

CREATE TABLE IF NOT EXISTS vb_quotes (
    symbol     VARCHAR(20) PRIMARY KEY,
    price      DECIMAL(15,2) NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT chk_vb_quotes_price CHECK (price > 0)
);

CREATE TABLE IF NOT EXISTS vb_orders (
    id            UUID PRIMARY KEY,  -- the main database's order
    vb_account_id UUID NOT NULL REFERENCES vb_accounts (id),
    user_id       UUID NOT NULL,
    symbol        VARCHAR(20) NOT NULL,
    side          VARCHAR(4) NOT NULL DEFAULT 'buy',
    quantity      DECIMAL(18,6) NOT NULL DEFAULT 0,
    price         DECIMAL(15,2),
    status        VARCHAR(20) NOT NULL DEFAULT 'pending',
    data          JSONB NOT NULL DEFAULT '{}',
    placed_at     TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at    TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT chk_vb_orders_side CHECK (side IN ('buy', 'sell')),
    CONSTRAINT chk_vb_orders_quantity CHECK (quantity >= 0),
    CONSTRAINT chk_vb_orders_price CHECK (price >= 0),
    CONSTRAINT chk_vb_orders_status CHECK (
        status IN ('pending', 'open', 'partially_filled', 'filled', 'cancelled', 'rejected')
    )
);

-- WHERE user_id = $1 AND status = $2
CREATE INDEX IF NOT EXISTS idx_vb_orders_user_status ON vb_orders (user_id, status);
CREATE INDEX IF NOT EXISTS idx_vb_orders_account_id ON vb_orders (vb_account_id);
CREATE INDEX IF NOT EXISTS idx_vb_orders_status ON vb_orders (status);
CREATE INDEX IF NOT EXISTS idx_vb_orders_placed_at ON vb_orders (placed_at DESC);
-- WHERE data @> '{"venue": "paper"}'
CREATE INDEX IF NOT EXISTS idx_vb_orders_data_gin ON vb_orders USING gin (data);

CREATE TABLE IF NOT EXISTS vb_fills (
    id          UUID PRIMARY KEY,
    vb_order_id UUID NOT NULL REFERENCES vb_orders (id),
    quantity    DECIMAL(18,6) NOT NULL,
    price       DECIMAL(15,2) NOT NULL,
    filled_at   TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT chk_vb_fills_quantity CHECK (quantity > 0),
    CONSTRAINT chk_vb_fills_price CHECK (price >= 0)
);

CREATE INDEX IF NOT EXISTS idx_vb_fills_order_id ON vb_fills (vb_order_id);
CREATE INDEX IF NOT EXISTS idx_vb_fills_filled_at ON vb_fills (filled_at DESC);
