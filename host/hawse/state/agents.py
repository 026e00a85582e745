"""Agents: who may trade for an account beside its owner, and for how long."""

from dataclasses import dataclass, field

from .nonces import NonceWindow

#: Agents of an account, at most.
MOST_AGENTS = 4
#: Milliseconds by which the expiry of an agent's command may be behind its nonce, where nothing else is said.
USUAL_LIFE = 60_000
#: Longest life that an appointment may allow, as the control leaf has it.
LIFE_MAX = 2**32 - 1


@dataclass(slots=True, eq=False)
class Agent:
    """A key that may trade for an account, but not withdraw, transfer or appoint.

    Attributes:
        address: 20 bytes.
        expiry: until when, in milliseconds of slot time; 0 where the owner has revoked it.
        appointed: sequence number of its appointment, the last if there were several.
        max_life: milliseconds from a command's nonce to its expiry, at most.
        nonces: those that it has used.
    """

    address: bytes
    expiry: int
    appointed: int
    max_life: int
    nonces: NonceWindow = field(default_factory=NonceWindow)

    def last(self) -> int:
        """Until when a command that it has signed could come again, were it forgotten and appointed anew."""
        return self.nonces.used[-1] + max(self.max_life, USUAL_LIFE) if self.nonces.used else 0


#: By address, in the order of their appointment.
Agents = dict[bytes, Agent]


def appoint(agents: Agents, address: bytes, expiry: int, max_life: int, seq: int, time: int) -> bool:
    """Appoint an agent, or appoint it anew: then it keeps its nonces, and the longer of both lives.

    The nonces of one that is not known begin a usual life ago, above all that one used who was forgotten: a
    longer life than it had then makes nothing good again.

    Args:
        agents: of the account; changed.
        address: of the agent.
        expiry: until when it may trade.
        max_life: of its commands.
        seq: of the appointment.
        time: of the slot.

    Returns:
        Whether there was a place for it.
    """
    agent = agents.pop(address, None)
    if agent is None:
        _forget(agents, time)
        if len(agents) >= MOST_AGENTS:
            return False
        nonces = NonceWindow(floor=max(0, time - USUAL_LIFE))
        agent = Agent(address, expiry, seq, max_life, nonces)
    agent.expiry, agent.appointed = expiry, seq
    agent.max_life = max(agent.max_life, max_life)
    agents[address] = agent
    return True


def _forget(agents: Agents, time: int) -> None:
    """Free the places of agents whose time is over, and of whom no command could come a second time."""
    for agent in [agent for agent in agents.values() if agent.expiry < time and agent.last() < time]:
        del agents[agent.address]
