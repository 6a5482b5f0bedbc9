"""What became of the run."""


def main(totals: dict, charges: list[dict], note: str | None) -> dict:
    failed = list(totals["failed"])
    charged = 0
    for invoice, charge in zip(totals["due"], charges, strict=True):
        if error := charge.get("error"):
            reason = {"reason": error["name"], "message": error["message"]}
            failed.append({"customer": invoice["customer"], **reason})
        else:
            charged += charge["cents"]
    return {
        "charged": len(totals["due"]) + len(totals["failed"]) - len(failed),
        "total": charged,
        "failed": failed,
        "note": note,
    }
