"""The page of stage `report`: one HTML file in which people look at the suspects and decide."""
