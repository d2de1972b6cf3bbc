"""The ``[pii.policies]`` section of the configuration: what to do with each entity."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Action = Literal["flag", "redact", "drop"]


class Policies(BaseModel):
    """An action for each entity.

    ``flag`` counts it and leaves the text as it is; ``redact`` puts a placeholder such as
    ``<EMAIL_ADDRESS>`` in its place; ``drop`` replaces the whole text by ``[WITHHELD]``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    EMAIL_ADDRESS: Action = Field(default="redact", description="E-mail addresses.")
    PHONE_NUMBER: Action = Field(default="redact", description="Telephone numbers.")
    IP_ADDRESS: Action = Field(
        default="redact",
        description="Internet addresses of hosts; they are personal data in the law of the EU.",
    )
    MAC_ADDRESS: Action = Field(default="redact", description="Hardware addresses.")
    CREDIT_CARD: Action = Field(default="redact", description="Payment card numbers.")
    IBAN_CODE: Action = Field(default="redact", description="International bank account numbers.")
    US_BANK_NUMBER: Action = Field(
        default="redact", description="United States: bank account numbers."
    )
    ABA_ROUTING_NUMBER: Action = Field(
        default="redact", description="United States: routing numbers."
    )
    CRYPTO: Action = Field(default="redact", description="Wallet addresses of crypto-currencies.")
    SECRET: Action = Field(default="redact", description="Keys, tokens, passwords, private keys.")
    DATA_URL: Action = Field(
        default="redact", description="Base64 data: URLs, such as inline images."
    )
    US_SSN: Action = Field(default="redact", description="United States: social security numbers.")
    US_ITIN: Action = Field(default="redact", description="United States: taxpayer numbers.")
    US_PASSPORT: Action = Field(default="redact", description="United States: passport numbers.")
    US_DRIVER_LICENSE: Action = Field(
        default="redact", description="United States: driver licences."
    )
    US_MBI: Action = Field(default="redact", description="United States: Medicare numbers.")
    US_NPI: Action = Field(default="redact", description="United States: health provider numbers.")
    MEDICAL_LICENSE: Action = Field(default="redact", description="United States: DEA numbers.")
    UK_NHS: Action = Field(default="redact", description="United Kingdom: health service numbers.")
    UK_NINO: Action = Field(
        default="redact", description="United Kingdom: national insurance numbers."
    )
    AU_TFN: Action = Field(default="redact", description="Australia: tax file numbers.")
    ES_NIE: Action = Field(default="redact", description="Spain: foreigners' identity numbers.")
    ES_NIF: Action = Field(default="redact", description="Spain: tax identity numbers.")
    FI_PERSONAL_IDENTITY_CODE: Action = Field(
        default="redact", description="Finland: identity codes."
    )
    IN_AADHAAR: Action = Field(default="redact", description="India: Aadhaar numbers.")
    IN_PAN: Action = Field(default="redact", description="India: permanent account numbers.")
    IT_FISCAL_CODE: Action = Field(default="redact", description="Italy: fiscal codes.")
    KR_RRN: Action = Field(default="redact", description="Korea: resident registration numbers.")
    PL_PESEL: Action = Field(default="redact", description="Poland: PESEL numbers.")
    SG_NRIC_FIN: Action = Field(default="redact", description="Singapore: identity card numbers.")
    PERSON: Action = Field(default="flag", description="Names of people.")
    ORGANIZATION: Action = Field(default="flag", description="Names of organisations.")
    LOCATION: Action = Field(default="flag", description="Names of places.")
    STREET_ADDRESS: Action = Field(
        default="flag", description="Postal addresses, found as names are."
    )

    def action(self, entity: str) -> Action:
        """The action for an entity; ``redact`` for one that has no policy."""
        chosen: Action = getattr(self, entity) if entity in type(self).model_fields else "redact"
        return chosen
