-- Cancels an order and returns its pieces to the stock. To cancel it again changes nothing.
CREATE OR REPLACE FUNCTION public.cancel_order(id bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = app, pg_temp
AS $$
DECLARE
    cancelled app.orders;
BEGIN
    UPDATE app.orders AS o SET status = 'cancelled'
    WHERE o.id = cancel_order.id AND o.status = 'placed'
    RETURNING o.* INTO cancelled;
    IF FOUND THEN
        UPDATE app.products AS p SET stock = p.stock + cancelled.quantity WHERE p.id = cancelled.product;
    ELSIF NOT EXISTS (SELECT FROM app.orders AS o WHERE o.id = cancel_order.id) THEN
        RAISE SQLSTATE 'PT404' USING MESSAGE = 'no such order';
    END IF;
END
$$;

REVOKE ALL ON FUNCTION public.cancel_order(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.cancel_order(bigint) TO shop;
