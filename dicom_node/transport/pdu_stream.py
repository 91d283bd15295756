"""The byte stream of an association, taken apart as it comes (PS3.8 9.3): no PDU is ever held whole but control PDUs.

Data fragments are handed on as views into the receive buffer, in whatever pieces the network delivered.
"""

from __future__ import annotations

from collections.abc import Callable

P_DATA_TF = 0x04
_KNOWN = range(0x01, 0x08)
LARGEST_CONTROL_PDU = 1 << 18
"""A-ASSOCIATE-RQ with 128 contexts of 45 transfer syntaxes is 200 KB; all other control PDUs are smaller."""
_HEADER = 6  # of a PDU (9.3.1: type, reserved, length) and of a PDV (annex E: length, context, control) alike


class ProtocolError(Exception):
    """The peer breaks PS3.8: the association is aborted."""


class PduStream:
    """Cuts a byte stream into control PDUs and fragments of P-DATA-TF.

    `maximum_length`: the P-DATA-TF length that was offered to the peer (0 = unlimited, never offered by this node).
    """

    def __init__(
        self,
        maximum_length: int,
        on_pdu: Callable[[bytes], None],
        on_fragment: Callable[[int, int, memoryview, bool], None],
    ) -> None:
        self.stopped = False
        self._maximum_length = maximum_length
        self._on_pdu = on_pdu
        self._on_fragment = on_fragment
        self._header = bytearray()
        self._control_pdu = bytearray()
        self._control_left = 0
        self._pdu_left = 0  # of a P-DATA-TF
        self._pdv_left = 0
        self._context_id = self._control = 0

    def feed(self, data: memoryview) -> None:
        """Take what the network delivered. Raises ProtocolError."""
        position = 0
        while position < len(data) and not self.stopped:
            left = self._pdv_left or self._control_left or _HEADER - len(self._header)
            piece = data[position : position + left]
            position += len(piece)
            if self._pdv_left:
                self._take_fragment(piece)
            elif self._control_left:
                self._control_pdu += piece
                self._control_left -= len(piece)
                self._end_control_pdu()
            else:
                self._header += piece
                if len(self._header) == _HEADER:
                    self._take_header()

    def _take_header(self) -> None:
        header = bytes(self._header)
        self._header.clear()
        if self._pdu_left:
            self._begin_fragment(header)
            return
        kind, length = header[0], int.from_bytes(header[2:6], "big")
        if kind == P_DATA_TF:
            if self._maximum_length and length > self._maximum_length:
                raise ProtocolError(f"a P-DATA-TF of {length} bytes, {self._maximum_length} were negotiated")
            self._pdu_left = length
            return
        if kind not in _KNOWN or length > LARGEST_CONTROL_PDU:
            raise ProtocolError(f"a PDU of type {kind} and {length} bytes")
        self._control_pdu = bytearray(header)
        self._control_left = length
        self._end_control_pdu()

    def _end_control_pdu(self) -> None:
        if self._control_left == 0:
            self._on_pdu(bytes(self._control_pdu))

    def _begin_fragment(self, header: bytes) -> None:
        length = int.from_bytes(header[:4], "big")
        if length < 2 or length + 4 > self._pdu_left:
            raise ProtocolError(f"a PDV of {length} bytes in a P-DATA-TF with {self._pdu_left} left")
        self._context_id, self._control = header[4], header[5]
        self._pdu_left -= _HEADER
        self._pdv_left = length - 2
        if self._pdv_left == 0:
            self._on_fragment(self._context_id, self._control, memoryview(b""), True)

    def _take_fragment(self, piece: memoryview) -> None:
        self._pdv_left -= len(piece)
        self._pdu_left -= len(piece)
        self._on_fragment(self._context_id, self._control, piece, self._pdv_left == 0)
