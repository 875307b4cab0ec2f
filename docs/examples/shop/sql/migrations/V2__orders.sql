CREATE TABLE app.products (
    id    bigint PRIMARY KEY,
    name  text NOT NULL,
    cents bigint NOT NULL CHECK (cents > 0),
    stock bigint NOT NULL CHECK (stock >= 0)
);

INSERT INTO app.products VALUES (1, 'chair', 4500, 500), (2, 'table', 19900, 2);

CREATE TABLE app.orders (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product  bigint NOT NULL REFERENCES app.products,
    quantity bigint NOT NULL CHECK (quantity > 0),
    cents    bigint NOT NULL,
    -- The sender's key: an order is placed once, however often it is sent. Null without a key.
    key      text UNIQUE
);
