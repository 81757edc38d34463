"""Pages of an account, as the gateway answers them and ``workcast account`` reads them."""

from __future__ import annotations

from typing import Final

from pydantic import TypeAdapter

from workcast.consumer.protocol import PriceSource
from workcast.ledger.account import Account, Rows
from workcast.ledger.rows import Totals

MAX_ROWS: Final = 1000
_TOTALS: Final = TypeAdapter(Totals)


def account_page(account: Account, epoch: int, rows: Rows, offset: int, limit: int) -> bytes:
    """Encode an :class:`~workcast.consumer.protocol.AccountPage`, whose rows the account gives as JSON."""
    count, items = account.page(rows, offset, limit)
    prices = PriceSource(source=account.prices.source, date=account.prices.date).model_dump_json().encode()
    head = b'{"epoch":%d,"base":%d,"head":%d,"totals":%s,"prices":%s,"rows":"%s",' % (
        epoch, account.base, account.offset, _TOTALS.dump_json(account.totals()), prices, rows.encode(),
    )  # fmt: skip
    return head + b'"offset":%d,"count":%d,"items":[%s]}' % (offset, count, b",".join(items))
