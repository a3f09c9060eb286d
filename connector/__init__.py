"""mde-inventory-connector: what changed in Microsoft Defender's software inventory, as Avro messages on Kafka."""

__version__ = "0.1.0"
