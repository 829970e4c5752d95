"""Battery, its converter and its controllers. Discharge positive, MW and MWh."""
