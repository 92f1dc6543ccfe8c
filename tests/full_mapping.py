"""A server of a name, with a mapping in which every key stands: as the design of the contract shows it."""

FULL_MAPPING = """\
exec_mcp:
  kraken:
    transport: {kind: http, url: "http://127.0.0.1:9000/mcp", headers: {Authorization: {env: KRAKEN_TOKEN}}}
    timeout_s: 5
    accounts:
      main: {money: real, max_orders_per_minute: 60}
    bind: {account_id: accountName, client_id: null}
    tools:
      place_order:
        name: createOrder
        args:
          quantity: {to: amount, as: number}
          client_order_id: params.clientOrderId
          reduce_only: null
        const: {timeInForce: GTC}
        enums: {side: {buy: BUY, sell: SELL}}
        result: {order_id: $.id, status: $.status}
        states: {closed: filled, canceled: cancelled}
        error_when: ["$.error"]
        unknown_when: ["$.error.timeout"]
        refused_when: [{path: $.code, is: [51008]}]
      get_order: {name: fetchOrder, not_found_when: ["$.error"]}
      list_orders: {name: fetchOpenOrders, items: $.orders, result: {order_id: $.id}}
      get_quote: {name: fetchTicker, bind: none}
      get_positions: null
"""
