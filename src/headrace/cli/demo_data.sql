CREATE TYPE order_state AS ENUM ('new', 'paid', 'shipped', 'returned');
CREATE TABLE customers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email text NOT NULL UNIQUE,
    name text NOT NULL,
    tags text[] NOT NULL DEFAULT '{}',
    profile jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE products (
    sku text PRIMARY KEY,
    title text NOT NULL,
    price numeric(10, 2) NOT NULL CHECK (price >= 0),
    manual text
);
CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id bigint NOT NULL,
    state order_state NOT NULL DEFAULT 'new',
    total numeric(12, 2) NOT NULL DEFAULT 0,
    placed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX orders_customer ON orders (customer_id);
CREATE TABLE order_lines (
    order_id bigint NOT NULL,
    line int NOT NULL,
    sku text NOT NULL,
    quantity int NOT NULL,
    PRIMARY KEY (order_id, line)
);
-- No primary key: Headrace keeps tables like this one exact as well.
CREATE TABLE visits (at timestamptz NOT NULL DEFAULT now(), customer_id bigint, page text, took_ms int);

INSERT INTO customers (email, name, tags, profile)
SELECT 'c' || i || '@example.org', 'Customer ' || i, ARRAY['t' || i % 7, 'vip'], jsonb_build_object('score', i % 100)
FROM generate_series(1, 20000) i;
INSERT INTO products
SELECT 'sku-' || i, 'Product ' || i, (i % 500) + 0.99, repeat(md5(i::text), 300) FROM generate_series(1, 1000) i;
INSERT INTO orders (customer_id, total, placed_at)
SELECT 1 + i % 20000, i % 900, now() - i * interval '1 minute' FROM generate_series(1, 60000) i;
INSERT INTO order_lines
SELECT 1 + i / 2, i % 2, 'sku-' || 1 + i % 1000, 1 + i % 5 FROM generate_series(0, 119999) i;
INSERT INTO visits
SELECT now() - i * interval '1 second', 1 + i % 20000, '/p/' || i % 1000, i % 90 * 1000
FROM generate_series(1, 100000) i;
